#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace hogpen {

/// The text that describes a model, and how to point into it.
///
/// Sharing: immutable. Owns: the text.
class ModelText {
 public:
  explicit ModelText(std::string text) : text_(std::move(text)) {}
  [[nodiscard]] const std::string& str() const noexcept { return text_; }

  /// Throws: FormatError whose `where` is the column of byte `at`, and whose message ends with the text and a caret.
  [[noreturn]] void fail(std::size_t at, const std::string& message, std::string hint = {}) const;

 private:
  std::string text_;
};

/// One layer of a model's text, with all its arguments: what an engine builds from.
///
/// Sharing: a value.
struct LayerSpec {
  enum class Kind { linear, conv2d, max_pool2d, flatten, dropout, dropout2d, relu, tanh, sigmoid, gelu, log_softmax };

  Kind kind = Kind::relu;
  std::map<std::string, double> arguments;  ///< by the names in `parse_model`; what the text left out has its default
  std::size_t begin = 0;                    ///< the bytes [begin, end) of the text are the layer's
  std::size_t end = 0;

  [[nodiscard]] double number(const std::string& argument) const { return arguments.at(argument); }
  [[nodiscard]] std::int64_t integer(const std::string& argument) const {
    return static_cast<std::int64_t>(number(argument));
  }
};

/// Reads layers := { Name [ "(" [ argument { "," argument } ] ")" ] [ "," ] }, argument := [ name "=" ] value. The
/// names of arguments may be PyTorch's (`in_features`).
///
/// Throws: FormatError for anything else, for an unknown layer or argument, one too many or missing, and a value out of
/// range. At least one layer is returned.
[[nodiscard]] std::vector<LayerSpec> parse_layers(const ModelText& text);

}  // namespace hogpen
