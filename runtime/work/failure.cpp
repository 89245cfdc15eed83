#include "runtime/work/failure.h"

#include <c10/util/Exception.h>
#include <cxxabi.h>

#include <cstdlib>
#include <memory>

#include "runtime/work/task_error.h"

namespace hogpen {
namespace {

constexpr std::size_t kMostText = 64 << 10;

std::string type_of_current_exception() {
  const std::type_info* type = abi::__cxa_current_exception_type();
  if (!type) return "something that C++ does not know";
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> name(abi::__cxa_demangle(type->name(), nullptr, nullptr, &status),
                                                         &std::free);
  return status == 0 ? name.get() : type->name();
}

std::string shortened(std::string text) {
  if (text.size() <= kMostText) return text;
  const std::size_t left_out = text.size() - kMostText;
  text.resize(kMostText);
  return text + fmt::format("… ({} more bytes)", left_out);
}

}  // namespace

Failure describe_current_exception(std::uint64_t index) {
  Failure failure{.kind = Failure::Kind::threw, .index = index, .type = type_of_current_exception(), .exit = {}};
  try {
    throw;
  } catch (const Error& error) {
    failure.exit.message =
        error.hint().empty() ? error.what() : fmt::format("{}\nhint: {}", error.what(), error.hint());
  } catch (const c10::Error& error) {
    failure.exit.message = error.what_without_backtrace();
  } catch (const std::exception& error) {
    failure.exit.message = error.what();
  } catch (...) {
    failure.exit.message = "it is no std::exception and has no text";
  }
  failure.exit.message = shortened(std::move(failure.exit.message));
  return failure;
}

Parcel Failure::to_parcel() const {
  Encoder to;
  to.value(kind);
  to.value(index);
  to.value(type);
  to.value(exit.rank);
  to.value(exit.pid);
  to.value(exit.exit_code);
  to.value(exit.signal);
  to.value(exit.message);
  return make_parcel(to);
}

Failure Failure::from(Parcel parcel) {
  const OpenParcel open(parcel);
  Decoder from = open.decoder();
  Failure failure;
  failure.kind = from.value<Kind>();
  failure.index = from.value<std::uint64_t>();
  failure.type = from.value<std::string>();
  failure.exit.rank = from.value<int>();
  failure.exit.pid = from.value<int>();
  failure.exit.exit_code = from.value<std::optional<int>>();
  failure.exit.signal = from.value<std::optional<int>>();
  failure.exit.message = from.value<std::string>();
  return failure;
}

void Failure::raise() const {
  switch (kind) {
    case Kind::threw:
      throw TaskError(index, type, exit.message);
    case Kind::timed_out:
      throw TimeoutError(exit.message);
    case Kind::worker_died:
      break;
  }
  throw WorkerError(exit,
                    "the task may be what kills its worker; `PoolOptions::retries` says how often it is tried again");
}

}  // namespace hogpen
