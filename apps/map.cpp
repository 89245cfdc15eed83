#include <algorithm>
#include <cctype>
#include <chrono>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#include "apps/bench/conditions.h"
#include "apps/cli.h"
#include "apps/map/checks.h"
#include "apps/map/formats.h"
#include "apps/map/sudden_end.h"
#include "apps/output.h"
#include "runtime/core/error.h"
#include "runtime/memory/mapped_file.h"
#include "runtime/process/thread_budget.h"

namespace hogpen {
namespace {

namespace fs = std::filesystem;

constexpr const char* kMapFooter = R"text(Examples:
  hogpen map exp x.npy y.npy                              a whole array
  hogpen map square prices.csv out.csv --column price     one column; all other bytes stay
  hogpen map log prices.csv --in-place --column -1        the last column, into the same file
  hogpen map scale-shift x.npy y.npy --scale 0.5 --shift -1
  hogpen map relu weights.safetensors out.safetensors --tensor 0.weight --tensor 2.weight
  hogpen map tanh x.npy y.npy -v                          say who does it, and why
  hogpen map --calibrate                                  measure once who is fastest on this machine

Files:
  .npy          float16, float32, float64; written in the same dtype and order; of two dimensions for --column
  .csv          computed in float64, written with the fewest digits that read back the same; empty fields stay
  .safetensors  tensors of float16, bfloat16, float32, float64; all others stay
  Without --column and --tensor all that is there is mapped. IN and OUT are files, not standard streams.
  OUT is replaced as a whole when all is done. Whatever ends the command before (an error, Ctrl-C, kill -9,
  a full disk) leaves IN and an old OUT as they were; kill -9 also leaves a temporary OUT.XXXXXXXX.tmp.
  IN may be larger than the memory, and must not be written to meanwhile.

Exit codes:
  0 done   1 failed   2 wrong usage or data   4 no such device   130, 143 stopped by SIGINT, SIGTERM)text";

struct MapArguments {
  std::string op;
  std::string in;
  std::optional<std::string> out;
  bool in_place = false;
  std::optional<double> scale;
  std::optional<double> shift;
  std::optional<std::string> format;
  MapRequest options;
  bool no_header = false;
  std::optional<std::string> delimiter;
  std::string place = "auto";
  int threads = default_workers();
  bool calibrate = false;
  bool verbose = false;
  bool quiet = false;
};

struct Format {
  const char* name;
  void (*map)(const Source&, const MapRequest&, ReplacementFile&, Mapper&);
};
constexpr Format kFormats[] = {{"npy", map_npy}, {"csv", map_csv}, {"safetensors", map_safetensors}};

struct NamedPlace {
  const char* name;
  Place place;
};
constexpr NamedPlace kPlaces[] = {
    {"auto", Place::automatic}, {"caller", Place::caller}, {"threads", Place::threads}, {"gpu", Place::gpu}};

template <class Table>
std::vector<std::string> names_of(const Table& table) {
  std::vector<std::string> names;
  for (const auto& entry : table) names.emplace_back(entry.name);
  return names;
}

template <class Table>
const auto* find_name(const Table& table, const std::string& name) {
  const auto* found = std::ranges::find_if(table, [&](const auto& entry) { return name == entry.name; });
  return found == std::end(table) ? nullptr : found;
}

/// Null when the name does not say.
const Format* format_by_suffix(const fs::path& path) {
  std::string suffix = path.extension().string();
  std::ranges::transform(suffix, suffix.begin(), [](unsigned char letter) { return std::tolower(letter); });
  return suffix.empty() ? nullptr : find_name(kFormats, suffix.substr(1));
}

const Format& choose_format(const MapArguments& arguments, const fs::path& out) {
  const Format* format = arguments.format ? find_name(kFormats, *arguments.format) : format_by_suffix(arguments.in);
  if (!format) {
    throw UsageError(fmt::format("{} ends in none of .npy, .csv, .safetensors", arguments.in), "say --format");
  }
  const Format* of_out = out == arguments.in ? nullptr : format_by_suffix(out);
  if (of_out && of_out != format) {
    throw UsageError(fmt::format("{} is {}, but {} ends in .{}: map does not convert", arguments.in, format->name,
                                 out.string(), of_out->name),
                     fmt::format("let OUT end in .{}", format->name));
  }
  const auto only_for = [&](const char* name, bool is_given, const char* option) {
    require(!is_given || std::string_view(format->name) == name, "{} is for {} files, but {} is {}", option, name,
            arguments.in, format->name);
  };
  only_for("csv", arguments.no_header, "--no-header");
  only_for("csv", arguments.delimiter.has_value(), "--delimiter");
  only_for("safetensors", !arguments.options.tensors.empty(), "--tensor");
  return *format;
}

kernels::UnaryOp op_of(const MapArguments& arguments) {
  require(!arguments.op.empty(), "OP is missing: name what to apply, as in 'hogpen map exp x.npy y.npy'");
  kernels::UnaryOp op = {find_name(kernels::kUnaryOps, arguments.op)->kind};
  const bool is_scaled = arguments.scale || arguments.shift;
  const bool takes_scale = op.kind == kernels::UnaryOp::Kind::scale_shift;
  require(is_scaled || !takes_scale, "scale-shift needs --scale, --shift, or both");
  require(!is_scaled || takes_scale, "--scale and --shift are for scale-shift, not for {}", arguments.op);
  op.scale = arguments.scale.value_or(1.0);
  op.shift = arguments.shift.value_or(0.0);
  return op;
}

fs::path out_of(const MapArguments& arguments) {
  require(!arguments.in.empty(), "IN is missing: name a file to read");
  require(arguments.out != "", "OUT must not be empty");
  if (arguments.in_place && arguments.out) {
    throw UsageError("OUT and --in-place exclude each other", "leave one of them out");
  }
  if (!arguments.in_place && !arguments.out) {
    throw UsageError("OUT is missing", "name a file to write, or replace IN with --in-place");
  }
  return arguments.out.value_or(arguments.in);
}

std::optional<fs::path> calibration_file() try {
  return calibration_path();
} catch (const UsageError&) {  // No HOME: the defaults will do.
  return std::nullopt;
}

/// Says when the machine was not quiet, for what it measures stays.
Calibration calibrate_now(int threads) {
  const auto warn = [](const std::vector<std::string>& warnings) {
    for (const std::string& warning : warnings) {
      write_stderr(fmt::format("warning: {}: what was measured may be wrong, calibrate again later\n", warning));
    }
  };
  const Conditions before = Conditions::now();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  const Conditions begin = Conditions::now();
  warn(warnings_at_begin(before, begin));
  Calibration calibration = hogpen::calibrate(threads);
  warn(warnings_at_end(begin, Conditions::now()));
  return calibration;
}

/// To be called while the process has one thread: measuring forks.
Calibration calibration_for(const MapArguments& arguments) {
  if (arguments.calibrate) {
    const fs::path path = calibration_path();
    const Calibration calibration = calibrate_now(arguments.threads);
    store_calibration(path, calibration);
    if (!arguments.quiet) write_stderr(fmt::format("measured this machine, and wrote {}\n", path.string()));
    return calibration;
  }
  const std::optional<fs::path> path = calibration_file();
  return path ? stored_calibration(*path, arguments.threads) : Calibration{};
}

int map(const MapArguments& arguments) {
  if (arguments.op.empty() && arguments.calibrate) {
    (void)calibration_for(arguments);
    return 0;
  }
  const kernels::UnaryOp op = op_of(arguments);
  const fs::path out = out_of(arguments);
  check_input(arguments.in);
  check_output(out);
  const Format& format = choose_format(arguments, out);
  MapRequest options = arguments.options;
  options.has_header = !arguments.no_header;
  if (arguments.delimiter) options.delimiter = arguments.delimiter->front();
  Executor executor({.place = find_name(kPlaces, arguments.place)->place,
                     .threads = arguments.threads,
                     .calibration = calibration_for(arguments)});
  Mapper mapper(op, executor, {.quiet = arguments.quiet, .verbose = arguments.verbose});
  try {
    const MappedFile in(arguments.in);
    mapper.begin(in.bytes().size());
    const Source source = {in.bytes(), arguments.in};
    SuddenEnd sudden_end;
    ReplacementFile file(out, in.status().st_mode);
    sudden_end.guard(source, file.temporary());
    format.map(source, options, file, mapper);
    file.sync();
    mapper.stop_if_told();
    check_unchanged(arguments.in, in.status());
    file.commit();
  } catch (const Stopped& stopped) {
    std::error_code ignored;
    mapper.say(fmt::format("stopped by {}: {} {}", signal_name(stopped.signal), out.string(),
                           fs::exists(out, ignored) ? "is as it was" : "was not written"));
    return 128 + stopped.signal;
  }
  mapper.finish(out);
  return 0;
}

CLI::Validator one_character() {
  const auto check = [](std::string& text) -> std::string {
    if (text == "\\t" || text == "tab") text = "\t";
    const bool may_divide = text.find_first_of("\"\r\n+-.") == std::string::npos;
    if (text.size() == 1 && may_divide && !std::isalnum(static_cast<unsigned char>(text[0]))) return {};
    return fmt::format("must be 'tab', or one character that is no quote and of no number or word, but is '{}'", text);
  };
  return CLI::Validator(check, "");
}

void add_map_options(CLI::App& parser, MapArguments& arguments) {
  constexpr double kLowest = std::numeric_limits<double>::lowest();
  parser.add_option("OP", arguments.op, "exp, log, sigmoid, tanh, relu, sqrt, abs, negate, square or scale-shift")
      ->type_name("")
      ->transform(one_of(names_of(kernels::kUnaryOps)));
  parser.add_option("IN", arguments.in, "A .npy, .csv or .safetensors file")->type_name("");
  parser.add_option("OUT", arguments.out, "The file to write, of the same format; may be IN")->type_name("");
  parser.add_flag("-i,--in-place", arguments.in_place, "Replace IN; then there is no OUT");
  parser.add_option("--column", arguments.options.column, "One column: its name in a CSV file's header, or its index")
      ->type_name("NAME|INDEX")
      ->transform(any_text());
  parser.add_option("--tensor", arguments.options.tensors, "A tensor of a safetensors file; may be given again")
      ->type_name("NAME")
      ->transform(any_text())
      ->allow_extra_args(false)
      ->default_str("")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  parser.add_option("--scale", arguments.scale, "Of scale-shift: scale * x + shift")
      ->type_name("X")
      ->transform(real_number(kLowest));
  parser.add_option("--shift", arguments.shift, "Of scale-shift")->type_name("Y")->transform(real_number(kLowest));
  parser.add_option("--format", arguments.format, "Where IN's name does not say: npy, csv or safetensors")
      ->type_name("NAME")
      ->transform(one_of(names_of(kFormats)));
  parser.add_flag("--no-header", arguments.no_header, "The first line of a CSV file is data");
  parser.add_option("--delimiter", arguments.delimiter, "What divides the fields of a CSV file: a character, or tab")
      ->type_name("C")
      ->transform(one_character());
  parser
      .add_option("--place", arguments.place,
                  "Who does it: caller (one thread), threads, gpu, or auto, whoever is fastest")
      ->type_name("PLACE")
      ->transform(one_of(names_of(kPlaces)));
  parser.add_option("--threads", arguments.threads, "At most so many, with the calling one")
      ->type_name("N")
      ->transform(whole_number(1, std::numeric_limits<int>::max()));
  parser.add_flag("--calibrate", arguments.calibrate,
                  "First measure from which size on that many threads or a GPU are faster, and keep the result");
  parser.add_flag("-v,--verbose", arguments.verbose, "Say who does it, and why");
  parser.add_flag("-q,--quiet", arguments.quiet, "Say nothing but errors");
}

}  // namespace

Command add_map(CLI::App& program) {
  CLI::App* parser = program.add_subcommand("map", "Apply exp, square or their like to the numbers of a file");
  const auto arguments = std::make_shared<MapArguments>();
  add_map_options(*parser, *arguments);
  parser->footer(kMapFooter);
  return {parser, [arguments](const Arguments&) { return map(*arguments); }};
}

}  // namespace hogpen
