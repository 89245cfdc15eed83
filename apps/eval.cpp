#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "apps/cli.h"
#include "apps/data.h"
#include "apps/output.h"
#include "models/trainer.h"

namespace hogpen {
namespace {

constexpr const char* kEvalFooter = R"text(Examples:
  hogpen eval runs/mine/checkpoints/step-9380
  hogpen eval weights.safetensors --model "Linear(784,128) ReLU Linear(128,10)" --data fashion-mnist

Exit codes:
  0 done   1 failed   2 wrong usage, checkpoint or data)text";

struct EvalArguments {
  std::string checkpoint;
  std::optional<std::string> model;
  std::optional<std::string> data;
  bool json = false;
};

int evaluate(const EvalArguments& arguments) {
  const Evaluation score = evaluate_checkpoint(
      arguments.checkpoint, arguments.model, arguments.data, [](const std::string& name, const std::string& record) {
        return open_named_data({.name = name, .features = {}, .label = "", .record = record}).data;
      });
  const nlohmann::json json = {{"accuracy", score.accuracy},
                               {"loss", score.loss},
                               {"epoch", score.epoch},
                               {"step", score.step},
                               {"checkpoint", arguments.checkpoint}};
  write_stdout(arguments.json ? json.dump() + "\n"
                              : fmt::format("accuracy {:.2f} %\nloss {:.4f}\n", 100.0 * score.accuracy, score.loss));
  return 0;
}

}  // namespace

Command add_eval(CLI::App& program) {
  CLI::App* parser = program.add_subcommand("eval", "Loss and accuracy of a checkpoint on the test set");
  const auto arguments = std::make_shared<EvalArguments>();
  parser->add_option("CHECKPOINT", arguments->checkpoint, "A directory step-N, or a .safetensors file")
      ->type_name("")
      ->required();
  parser->add_option("--model", arguments->model, "The model's layers, instead of what the checkpoint says")
      ->type_name("TEXT")
      ->transform(any_text());
  parser->add_option("--data", arguments->data, "The data, instead of what the checkpoint says")
      ->type_name("NAME|DIR")
      ->transform(any_text());
  parser->add_flag("--json", arguments->json, "Print the result as one JSON object");
  parser->footer(kEvalFooter);
  return {parser, [arguments](const Arguments&) { return evaluate(*arguments); }};
}

}  // namespace hogpen
