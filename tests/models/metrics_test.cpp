#include "models/metrics.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bit>
#include <cmath>
#include <csignal>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "runtime/core/error.h"

namespace hogpen {
namespace {

namespace fs = std::filesystem;

class RunDirectory {
 public:
  RunDirectory() {
    std::string pattern = (fs::temp_directory_path() / "hogpen-metrics-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~RunDirectory() { fs::remove_all(path_); }
  [[nodiscard]] const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<std::string> lines_of(const fs::path& run_directory) {
  std::ifstream file(run_directory / "metrics.jsonl");
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

std::vector<fs::path> event_files(const fs::path& directory) {
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (entry.path().filename().string().starts_with("events.out.tfevents.")) found.push_back(entry.path());
  }
  return found;
}

// A decoder of its own, written from the formats' descriptions: bit by bit, field by field.
std::uint32_t reference_crc32c(std::string_view bytes) {
  std::uint32_t crc = 0xFFFFFFFFu;
  for (const char byte : bytes) {
    for (int bit = 0; bit < 8; ++bit) {
      const bool carry = ((crc ^ (static_cast<unsigned char>(byte) >> bit)) & 1u) != 0;
      crc >>= 1;
      if (carry) crc ^= 0x82F63B78u;
    }
  }
  return crc ^ 0xFFFFFFFFu;
}

struct Reader {
  std::string_view rest;

  std::string_view take(std::size_t count) {
    if (count > rest.size()) throw std::runtime_error("the file ends in the middle");
    const std::string_view taken = rest.substr(0, count);
    rest.remove_prefix(count);
    return taken;
  }
  template <class T>
  T number() {
    T value{};
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
      const auto byte = number<std::uint8_t>();
      value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
  }
  void check_crc(std::string_view bytes) {
    const std::uint32_t crc = reference_crc32c(bytes);
    const std::uint32_t masked = ((crc >> 15) | (crc << 17)) + 0xA282EAD8u;
    EXPECT_EQ(number<std::uint32_t>(), masked);
  }
};

struct Scalar {
  std::string tag;
  float value = 0.0f;
};

struct Event {
  double wall_time = 0.0;
  std::int64_t step = 0;
  std::string file_version;
  std::optional<Scalar> scalar;
};

Scalar decode_summary(std::string_view bytes) {
  Reader summary{bytes};
  EXPECT_EQ(summary.varint(), 1u << 3 | 2u);
  Reader value{summary.take(summary.varint())};
  EXPECT_TRUE(summary.rest.empty());
  Scalar scalar;
  EXPECT_EQ(value.varint(), 1u << 3 | 2u);
  scalar.tag = value.take(value.varint());
  EXPECT_EQ(value.varint(), 2u << 3 | 5u);
  scalar.value = value.number<float>();
  EXPECT_TRUE(value.rest.empty());
  return scalar;
}

Event decode_event(std::string_view bytes) {
  Event event;
  for (Reader message{bytes}; !message.rest.empty();) {
    switch (const auto key = message.varint(); key) {
      case 1 << 3 | 1:
        event.wall_time = message.number<double>();
        break;
      case 2 << 3 | 0:
        event.step = static_cast<std::int64_t>(message.varint());
        break;
      case 3 << 3 | 2:
        event.file_version = message.take(message.varint());
        break;
      case 5 << 3 | 2:
        event.scalar = decode_summary(message.take(message.varint()));
        break;
      default:
        throw std::runtime_error("unknown field key " + std::to_string(key));
    }
  }
  return event;
}

std::vector<Event> decode_file(const fs::path& path) {
  const std::string content = read_text(path);
  std::vector<Event> events;
  for (Reader file{content}; !file.rest.empty();) {
    const std::string_view length_bytes = file.rest.substr(0, 8);
    const auto length = file.number<std::uint64_t>();
    file.check_crc(length_bytes);
    const std::string_view payload = file.take(length);
    file.check_crc(payload);
    events.push_back(decode_event(payload));
  }
  return events;
}

TEST(EventFile, TheReferenceChecksumIsTheStandardOne) {
  EXPECT_EQ(reference_crc32c("123456789"), 0xE3069283u);
}

TEST(EventFile, WithoutScalarsHoldsTheVersionAlone) {
  const RunDirectory run;
  {
    const EventFile file(run.path());
  }
  ASSERT_EQ(event_files(run.path()).size(), 1u);
  const auto events = decode_file(event_files(run.path()).front());
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].file_version, "brain.Event:2");
  EXPECT_GT(events[0].wall_time, 1.6e9);
  EXPECT_FALSE(events[0].scalar);
}

TEST(EventFile, ScalarsAreReadBackByAnIndependentDecoder) {
  const RunDirectory run;
  const std::string long_tag(300, 'x');
  {
    EventFile file(run.path());
    file.add_scalar("train/loss", 0.625, 0, 1700000000.25);
    file.add_scalar(long_tag, -1e30, std::numeric_limits<std::int64_t>::max(), 1700000001.5);
    file.add_scalar("", std::nan(""), -1, 0.0);
  }
  const auto events = decode_file(event_files(run.path()).front());
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(events[1].scalar.value().tag, "train/loss");
  EXPECT_EQ(events[1].scalar.value().value, 0.625f);
  EXPECT_EQ(events[1].step, 0);
  EXPECT_EQ(events[1].wall_time, 1700000000.25);
  EXPECT_EQ(events[2].scalar.value().tag, long_tag);
  EXPECT_EQ(events[2].scalar.value().value, -1e30f);
  EXPECT_EQ(events[2].step, std::numeric_limits<std::int64_t>::max());
  EXPECT_TRUE(std::isnan(events[3].scalar.value().value));
  EXPECT_EQ(events[3].step, -1);
}

TEST(EventFile, TwoInOneSecondAreTwoFiles) {
  const RunDirectory run;
  const EventFile first(run.path());
  const EventFile second(run.path());
  EXPECT_EQ(event_files(run.path()).size(), 2u);
}

TEST(EventFile, ADirectoryThatCannotBeWrittenIsNamed) {
  try {
    const EventFile file("/proc/self/fdinfo");
    FAIL() << "no exception";
  } catch (const SystemError& error) {
    EXPECT_NE(std::string(error.what()).find("/proc/self/fdinfo"), std::string::npos) << error.what();
  }
}

TEST(MetricsLog, ADirectoryThatCannotBeMadeIsNamed) {
  const RunDirectory run;
  std::ofstream(run.path() / "file") << "in the way";
  try {
    const MetricsLog log(run.path() / "file" / "run");
    FAIL() << "no exception";
  } catch (const SystemError& error) {
    EXPECT_EQ(error.error_number(), ENOTDIR);
    EXPECT_NE(std::string(error.what()).find((run.path() / "file" / "run").string()), std::string::npos);
  }
}

TEST(MetricsLog, WritesOneObjectALineInTheOrderGiven) {
  const RunDirectory run;
  MetricsLog log(run.path() / "deep" / "run");
  log.add(0, {});
  log.add(10, {{"loss", 0.5}, {"accuracy", 0.875}});
  const auto lines = lines_of(run.path() / "deep" / "run");
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(nlohmann::json::parse(lines[0]).size(), 2u);
  const auto second = nlohmann::ordered_json::parse(lines[1]);
  std::vector<std::string> keys;
  for (const auto& item : second.items()) keys.push_back(item.key());
  EXPECT_EQ(keys, (std::vector<std::string>{"time", "step", "loss", "accuracy"}));
  EXPECT_EQ(second["step"], 10);
  EXPECT_EQ(second["accuracy"], 0.875);
}

TEST(MetricsLog, NanAndInfinityAreNull) {
  const RunDirectory run;
  MetricsLog log(run.path());
  log.add(1, {{"loss", std::nan("")}, {"lr", std::numeric_limits<double>::infinity()}});
  const auto line = nlohmann::json::parse(lines_of(run.path()).at(0));
  EXPECT_TRUE(line["loss"].is_null());
  EXPECT_TRUE(line["lr"].is_null());
}

TEST(MetricsLog, EventsHoldTheSameFigures) {
  const RunDirectory run;
  MetricsLog log(run.path());
  log.add(7, {{"loss", 0.5}, {"accuracy", 0.25}});
  const auto events = decode_file(event_files(run.path()).at(0));
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[1].scalar.value().tag, "loss");
  EXPECT_EQ(events[2].scalar.value().tag, "accuracy");
  EXPECT_EQ(events[2].scalar.value().value, 0.25f);
  EXPECT_EQ(events[2].step, 7);
  EXPECT_EQ(events[2].wall_time, nlohmann::json::parse(lines_of(run.path()).at(0))["time"]);
}

TEST(MetricsLog, OpeningKeepsEarlierLines) {
  const RunDirectory run;
  MetricsLog(run.path()).add(1, {{"loss", 1.0}});
  MetricsLog(run.path()).add(2, {{"loss", 0.5}});
  const auto lines = lines_of(run.path());
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(nlohmann::json::parse(lines[0])["step"], 1);
  EXPECT_EQ(nlohmann::json::parse(lines[1])["step"], 2);
}

class TornLine : public testing::TestWithParam<std::size_t> {};

TEST_P(TornLine, IsCutAtOpening) {
  const RunDirectory run;
  const std::string whole = "{\"step\":1}\n";
  std::ofstream(run.path() / "metrics.jsonl") << whole << std::string(GetParam(), '{');
  const MetricsLog log(run.path());
  EXPECT_EQ(read_text(run.path() / "metrics.jsonl"), whole);
}

// Around 4096, a likely size of the chunks in which the end is searched.
INSTANTIATE_TEST_SUITE_P(Lengths, TornLine, testing::Values(0, 1, 4085, 4095, 4096, 4097, 10000));

TEST(MetricsLog, ALoneTornLineLeavesAnEmptyFile) {
  const RunDirectory run;
  std::ofstream(run.path() / "metrics.jsonl") << "{\"step\":";
  const MetricsLog log(run.path());
  EXPECT_EQ(fs::file_size(run.path() / "metrics.jsonl"), 0u);
}

// RLIMIT_FSIZE makes write(2) stop short as a full disk does.
TEST(MetricsLog, ALineThatDoesNotFitIsTakenBackWhole) {
  const RunDirectory run;
  const ::pid_t child = ::fork();
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    MetricsLog log(run.path());
    log.add(1, {{"loss", 0.5}});
    const auto size = fs::file_size(run.path() / "metrics.jsonl");
    const ::rlimit limit{size + 20, size + 20};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    try {
      log.add(2, {{"loss", 0.25}});
    } catch (const SystemError& error) {
      ::_exit(error.error_number() == EFBIG ? 0 : 2);
    }
    ::_exit(1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  const std::string text = read_text(run.path() / "metrics.jsonl");
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  EXPECT_TRUE(text.ends_with('\n'));
}

}  // namespace
}  // namespace hogpen
