#include "models/layer_spec.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <system_error>
#include <utility>

#include "runtime/core/error.h"
#include "runtime/core/suggest.h"

namespace hogpen {
namespace {

constexpr std::int64_t kLargestSize = 2'147'483'647;
constexpr std::string_view kBlank = " \t\r\n";

enum class ValueKind { size, padding, flag, probability };

struct Parameter {
  std::string name;
  std::string torch_name;
  ValueKind kind;
  std::optional<double> default_value = {};
};

struct LayerType {
  std::string name;
  LayerSpec::Kind kind;
  std::vector<Parameter> parameters = {};
};

const std::vector<LayerType>& layer_types() {
  using Kind = LayerSpec::Kind;
  using enum ValueKind;
  static const std::vector<LayerType> types{
      {"Linear", Kind::linear, {{"in", "in_features", size}, {"out", "out_features", size}, {"bias", "bias", flag, 1}}},
      {"Conv2d",
       Kind::conv2d,
       {{"in", "in_channels", size},
        {"out", "out_channels", size},
        {"kernel", "kernel_size", size},
        {"stride", "stride", size, 1},
        {"padding", "padding", ValueKind::padding, 0}}},
      // A stride of 0 cannot be written: it stands for "as the kernel".
      {"MaxPool2d", Kind::max_pool2d, {{"kernel", "kernel_size", size}, {"stride", "stride", size, 0}}},
      {"Flatten", Kind::flatten},
      {"Dropout", Kind::dropout, {{"p", "p", probability, 0.5}}},
      {"Dropout2d", Kind::dropout2d, {{"p", "p", probability, 0.5}}},
      {"ReLU", Kind::relu},
      {"Tanh", Kind::tanh},
      {"Sigmoid", Kind::sigmoid},
      {"GELU", Kind::gelu},
      {"LogSoftmax", Kind::log_softmax},
  };
  return types;
}

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return std::ranges::equal(a, b, {}, lower, lower);
}

template <class Named>
std::string suggest(std::string_view word, const std::vector<Named>& named, std::string_view what) {
  std::vector<std::string> names;
  for (const Named& item : named) names.push_back(item.name);
  if (const auto name = closest(word, names)) return fmt::format("did you mean {}?", *name);
  return fmt::format("{}: {}", what, fmt::join(names, ", "));
}

std::string usage(const LayerType& type) {
  if (type.parameters.empty()) return fmt::format("{} takes no arguments", type.name);
  std::string parameters;
  for (const Parameter& parameter : type.parameters) {
    parameters += fmt::format("{}{}{}", parameters.empty() ? "" : ", ", parameter.name,
                              parameter.default_value ? " (optional)" : "");
  }
  return fmt::format("{} takes {}", type.name, parameters);
}

/// A word, or one of the characters ( ) , = or, at the end, nothing.
struct Token {
  std::string_view text;
  std::size_t begin = 0;

  [[nodiscard]] std::size_t end() const { return begin + text.size(); }
  [[nodiscard]] bool is_word() const { return !text.empty() && std::string_view("(),=").find(text) == text.npos; }
  [[nodiscard]] std::string quoted() const { return text.empty() ? "the end" : fmt::format("'{}'", text); }
};

std::vector<Token> tokenize(std::string_view text) {
  std::vector<Token> tokens;
  std::size_t at = text.find_first_not_of(kBlank);
  while (at < text.size()) {
    const std::size_t word_end = std::min(text.find_first_of(" \t\r\n(),=", at), text.size());
    tokens.push_back({text.substr(at, std::max<std::size_t>(word_end - at, 1)), at});
    at = text.find_first_not_of(kBlank, tokens.back().end());
  }
  tokens.push_back({{}, tokens.empty() ? 0 : tokens.back().end()});
  return tokens;
}

class Parser {
 public:
  explicit Parser(const ModelText& text) : text_(text), tokens_(tokenize(text.str())) {}

  std::vector<LayerSpec> layers() {
    std::vector<LayerSpec> layers;
    while (!peek().text.empty()) {
      if (!accept(",")) layers.push_back(layer());
    }
    if (layers.empty()) {
      text_.fail(0, "the model has no layer", "for example \"Linear(784,128) ReLU Linear(128,10)\"");
    }
    return layers;
  }

 private:
  LayerSpec layer() {
    const Token name = next();
    const LayerType& type = type_of(name);
    LayerSpec layer{.kind = type.kind, .arguments = {}, .begin = name.begin, .end = 0};
    if (accept("(")) arguments(type, layer);
    const Token& last = tokens_[position_ - 1];
    layer.end = last.end();
    for (const Parameter& parameter : type.parameters) {
      if (layer.arguments.contains(parameter.name)) continue;
      if (!parameter.default_value) {
        text_.fail(last.begin, fmt::format("{} needs a value for '{}'", type.name, parameter.name), usage(type));
      }
      layer.arguments[parameter.name] = *parameter.default_value;
    }
    return layer;
  }

  const LayerType& type_of(const Token& name) const {
    if (!name.is_word()) text_.fail(name.begin, fmt::format("a layer must stand here, not {}", name.quoted()));
    for (const LayerType& type : layer_types()) {
      if (equal_ignoring_case(type.name, name.text)) return type;
    }
    text_.fail(name.begin, fmt::format("there is no layer {}", name.quoted()),
               suggest(name.text, layer_types(), "the layers are"));
  }

  void arguments(const LayerType& type, LayerSpec& layer) {
    if (accept(")")) return;
    bool named = false;
    for (std::size_t index = 0;; ++index) {
      named = argument(type, layer, index, named);
      if (accept(")")) return;
      if (!accept(",")) {
        text_.fail(peek().begin, fmt::format("',' or ')' must stand here, not {}", peek().quoted()), usage(type));
      }
    }
  }

  // Says whether the argument had a name.
  bool argument(const LayerType& type, LayerSpec& layer, std::size_t index, bool follows_named) {
    const Token first = next();
    if (!first.is_word()) text_.fail(first.begin, fmt::format("an argument must stand here, not {}", first.quoted()));
    const bool named = accept("=");
    const Token value = named ? next() : first;
    if (follows_named && !named) text_.fail(first.begin, "an argument without a name cannot follow one with a name");
    const Parameter& parameter = named ? parameter_named(type, first) : parameter_at(type, index, first);
    if (layer.arguments.contains(parameter.name)) {
      text_.fail(first.begin, fmt::format("'{}' of {} is given twice", parameter.name, type.name));
    }
    layer.arguments[parameter.name] = parse_value(type, parameter, value);
    return named;
  }

  const Parameter& parameter_named(const LayerType& type, const Token& name) const {
    for (const Parameter& parameter : type.parameters) {
      if (name.text == parameter.name || name.text == parameter.torch_name) return parameter;
    }
    text_.fail(name.begin, fmt::format("{} has no argument {}", type.name, name.quoted()),
               type.parameters.empty() ? usage(type) : suggest(name.text, type.parameters, "its arguments are"));
  }

  const Parameter& parameter_at(const LayerType& type, std::size_t index, const Token& value) const {
    if (index < type.parameters.size()) return type.parameters[index];
    text_.fail(value.begin, fmt::format("{} has too many arguments", type.name), usage(type));
  }

  double parse_value(const LayerType& type, const Parameter& parameter, const Token& value) const {
    const auto refuse = [&](const std::string& wanted) {
      text_.fail(value.begin,
                 fmt::format("'{}' of {} must be {}, not {}", parameter.name, type.name, wanted, value.quoted()));
    };
    if (parameter.kind == ValueKind::flag) {
      const bool yes = equal_ignoring_case(value.text, "true") || value.text == "1";
      if (!yes && !equal_ignoring_case(value.text, "false") && value.text != "0") refuse("true or false");
      return yes ? 1.0 : 0.0;
    }
    if (parameter.kind == ValueKind::probability) {
      const std::optional<double> number = parse_number<double>(value.text);
      // Written so that NaN is refused too.
      if (!number || !(*number >= 0.0 && *number < 1.0)) refuse("a number of at least 0 and less than 1");
      return *number;
    }
    const std::int64_t smallest = parameter.kind == ValueKind::size ? 1 : 0;
    const std::optional<std::int64_t> number = parse_number<std::int64_t>(value.text);
    if (!number || *number < smallest || *number > kLargestSize) {
      refuse(fmt::format("a whole number from {} to {}", smallest, kLargestSize));
    }
    return static_cast<double>(*number);
  }

  template <class Number>
  static std::optional<Number> parse_number(std::string_view text) {
    Number number{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{} || end != text.data() + text.size()) return {};
    return number;
  }

  [[nodiscard]] const Token& peek() const { return tokens_[position_]; }
  // The last token, the end, is never passed.
  Token next() { return tokens_[position_ + 1 < tokens_.size() ? position_++ : position_]; }
  bool accept(std::string_view text) {
    if (peek().text != text) return false;
    ++position_;
    return true;
  }

  const ModelText& text_;
  std::vector<Token> tokens_;
  std::size_t position_ = 0;
};

}  // namespace

void ModelText::fail(std::size_t at, const std::string& message, std::string hint) const {
  std::string line = text_;
  std::replace_if(line.begin(), line.end(), [](char c) { return kBlank.find(c) != kBlank.npos; }, ' ');
  throw FormatError("model", fmt::format("column {}", at + 1),
                    fmt::format("{}\n  {}\n  {:>{}}", message, line, '^', at + 1), std::move(hint));
}

std::vector<LayerSpec> parse_layers(const ModelText& text) {
  return Parser(text).layers();
}

}  // namespace hogpen
