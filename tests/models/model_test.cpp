#include "models/model.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/logical_or.h>
#include <ATen/ops/max_pool2d.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/tanh.h>
#include <gtest/gtest.h>
#include <torch/nn/module.h>

#include <tuple>

#include "runtime/core/error.h"

namespace hogpen {
namespace {

std::vector<std::string> parameter_names(const Model& model) {
  std::vector<std::string> names;
  for (const auto& item : model.module->named_parameters()) names.push_back(item.key());
  return names;
}

at::Tensor parameter(const Model& model, const std::string& name) {
  return model.module->named_parameters()[name];
}

TEST(ParseModel, ParametersAreNamedByTheLayersIndexAsInPyTorch) {
  const Model model = parse_model("Linear(784,128) ReLU Linear(128,10)");
  EXPECT_EQ(parameter_names(model), (std::vector<std::string>{"0.weight", "0.bias", "2.weight", "2.bias"}));
  EXPECT_EQ(parameter(model, "0.weight").sizes(), (std::vector<std::int64_t>{128, 784}));
  EXPECT_EQ(parameter(model, "2.bias").sizes(), (std::vector<std::int64_t>{10}));
  EXPECT_FALSE(model.takes_images);
}

TEST(ParseModel, ForwardIsTheLayersInTurn) {
  const Model model = parse_model("Linear(4,3) Tanh Linear(3,2,bias=false) LogSoftmax");
  const at::Tensor input = at::randn({5, 4});
  const at::Tensor hidden = at::tanh(at::linear(input, parameter(model, "0.weight"), parameter(model, "0.bias")));
  const at::Tensor expected = at::log_softmax(at::linear(hidden, parameter(model, "2.weight")), 1);
  EXPECT_TRUE(at::allclose(model.forward(input), expected));
  EXPECT_EQ(parameter_names(model).size(), 3u);
}

TEST(ParseModel, EveryElementwiseLayerIsItself) {
  const at::Tensor x = at::linspace(-3, 3, 13).reshape({1, 13});
  EXPECT_TRUE(at::equal(parse_model("ReLU").forward(x), at::relu(x)));
  EXPECT_TRUE(at::equal(parse_model("Tanh").forward(x), at::tanh(x)));
  EXPECT_TRUE(at::equal(parse_model("Sigmoid").forward(x), at::sigmoid(x)));
  EXPECT_TRUE(at::equal(parse_model("GELU").forward(x), at::gelu(x)));
  EXPECT_TRUE(at::equal(parse_model("LogSoftmax").forward(x), at::log_softmax(x, -1)));
}

TEST(ParseModel, AConvolutionalModelTakesImages) {
  const Model model = parse_model("Conv2d(1,4,5,stride=2,padding=1) ReLU MaxPool2d(2) Flatten Linear(144,10)");
  EXPECT_TRUE(model.takes_images);
  EXPECT_EQ(parameter_names(model), (std::vector<std::string>{"0.weight", "0.bias", "4.weight", "4.bias"}));
  const at::Tensor input = at::randn({2, 1, 28, 28});
  const at::Tensor convolved =
      at::conv2d(input, parameter(model, "0.weight"), parameter(model, "0.bias"), /*stride=*/2, /*padding=*/1);
  const at::Tensor flat = at::max_pool2d(at::relu(convolved), 2).flatten(1);
  const at::Tensor expected = at::linear(flat, parameter(model, "4.weight"), parameter(model, "4.bias"));
  EXPECT_TRUE(at::allclose(model.forward(input), expected, 1e-4, 1e-5));
}

TEST(ParseModel, MaxPoolStepsByItsKernelUnlessToldOtherwise) {
  const at::Tensor input = at::randn({1, 1, 7, 7});
  EXPECT_TRUE(at::equal(parse_model("MaxPool2d(3)").forward(input), at::max_pool2d(input, 3, 3)));
  EXPECT_TRUE(at::equal(parse_model("MaxPool2d(3,1)").forward(input), at::max_pool2d(input, 3, 1)));
}

TEST(ParseModel, DropoutDropsInTrainingAlone) {
  const at::Tensor ones = at::ones({1, 20000});
  const Model model = parse_model("Dropout(0.25)");
  EXPECT_NEAR(model.forward(ones).eq(0).to(at::kDouble).mean().item<double>(), 0.25, 0.02);
  EXPECT_NEAR(parse_model("Dropout").forward(ones).eq(0).to(at::kDouble).mean().item<double>(), 0.5, 0.02);
  EXPECT_TRUE(at::equal(parse_model("Dropout(p=0)").forward(ones), ones));
  model.module->eval();
  EXPECT_TRUE(at::equal(model.forward(ones), ones));
}

TEST(ParseModel, Dropout2dDropsWholeChannelsInTrainingAlone) {
  const at::Tensor ones = at::ones({500, 20, 3, 3});
  const Model model = parse_model("Dropout2d(0.25)");
  EXPECT_TRUE(model.takes_images);
  const at::Tensor channels = model.forward(ones).sum({2, 3});
  EXPECT_TRUE(at::logical_or(channels.eq(0), (channels - 12).abs().lt(1e-4)).all().item<bool>());
  EXPECT_NEAR(channels.eq(0).to(at::kDouble).mean().item<double>(), 0.25, 0.03);
  EXPECT_NEAR(parse_model("dropout2d").forward(ones).eq(0).to(at::kDouble).mean().item<double>(), 0.5, 0.03);
  model.module->eval();
  EXPECT_TRUE(at::equal(model.forward(ones), ones));
}

TEST(ParseModel, TheFirstLayerThatCaresAboutShapesDecidesWhetherImagesAreTaken) {
  EXPECT_TRUE(parse_model("Flatten Linear(4,2)").takes_images);
  EXPECT_TRUE(parse_model("MaxPool2d(2)").takes_images);
  EXPECT_TRUE(parse_model("Dropout(0.1) Conv2d(1,2,3)").takes_images);
  EXPECT_FALSE(parse_model("Dropout(0.1) Linear(4,2)").takes_images);
  EXPECT_FALSE(parse_model("ReLU").takes_images);
}

class SameModel : public testing::TestWithParam<std::string> {};

TEST_P(SameModel, IsReadHoweverItIsWritten) {
  const Model model = parse_model(GetParam());
  EXPECT_EQ(parameter_names(model), (std::vector<std::string>{"0.weight", "2.weight", "2.bias"}));
  EXPECT_EQ(parameter(model, "0.weight").sizes(), (std::vector<std::int64_t>{3, 4}));
  EXPECT_EQ(parameter(model, "2.weight").sizes(), (std::vector<std::int64_t>{2, 3}));
}

INSTANTIATE_TEST_SUITE_P(
    Texts, SameModel,
    testing::Values("Linear(4,3,false) ReLU Linear(3,2)",
                    "  Linear( 4 , 3 , bias = False )\n\tReLU( ),\nLinear (3,2)\n",
                    "linear(4,3,bias=0),relu,LINEAR(3,2)", "Linear(4,3,false)ReLU()Linear(3,2),",
                    "Linear(out=3,in=4,bias=false) ReLU Linear(in_features=3,out_features=2,bias=true)"));

TEST(ParseModel, TwoModelsShareNoParameters) {
  const Model a = parse_model("Linear(2,2)");
  const Model b = parse_model("Linear(2,2)");
  EXPECT_NE(parameter(a, "0.weight").data_ptr(), parameter(b, "0.weight").data_ptr());
}

struct Mistake {
  std::string text;
  std::string where;
  std::string message;  ///< a part of it
  std::string hint;     ///< a part of it
};

void PrintTo(const Mistake& mistake, std::ostream* out) {
  *out << '"' << mistake.text << '"';
}

class ModelMistake : public testing::TestWithParam<Mistake> {};

TEST_P(ModelMistake, NamesTheColumnAndTheRemedy) {
  const auto& [text, where, message, hint] = GetParam();
  try {
    std::ignore = parse_model(text);
    FAIL() << "no exception";
  } catch (const FormatError& error) {
    EXPECT_EQ(error.file(), "model");
    EXPECT_EQ(error.where(), where) << error.what();
    EXPECT_NE(std::string(error.what()).find(message), std::string::npos) << error.what();
    EXPECT_NE(error.hint().find(hint), std::string::npos) << error.hint();
  }
}

INSTANTIATE_TEST_SUITE_P(
    Words, ModelMistake,
    testing::Values(Mistake{"", "column 1", "no layer", "for example"},
                    Mistake{" ,\n ", "column 1", "no layer", "for example"},
                    Mistake{"Linaer(784,10)", "column 1", "no layer 'Linaer'", "did you mean Linear?"},
                    Mistake{"Linear(2,2) relo", "column 13", "no layer 'relo'", "did you mean ReLU?"},
                    Mistake{"Transformer(8)", "column 1", "no layer 'Transformer'", "the layers are: Linear, Conv2d"},
                    Mistake{"Linear(2,2) (3)", "column 13", "a layer must stand here, not '('", ""},
                    Mistake{"ReLU=1", "column 5", "a layer must stand here, not '='", ""},
                    Mistake{"ReLU -> ReLU", "column 6", "no layer '->'", ""}));

INSTANTIATE_TEST_SUITE_P(
    Arguments, ModelMistake,
    testing::Values(Mistake{"Linear(784,10", "column 14", "',' or ')' must stand here, not the end", "in, out"},
                    Mistake{"Linear(784 10)", "column 12", "',' or ')' must stand here, not '10'", ""},
                    Mistake{"Linear(784,)", "column 12", "an argument must stand here, not ')'", ""},
                    Mistake{"Linear(", "column 8", "an argument must stand here, not the end", ""},
                    Mistake{"Linear", "column 1", "needs a value for 'in'", "in, out, bias (optional)"},
                    Mistake{"Linear(784)", "column 11", "needs a value for 'out'", "in, out"},
                    Mistake{"Linear(1,2,true,4)", "column 17", "too many arguments", "in, out"},
                    Mistake{"ReLU(1)", "column 6", "too many arguments", "ReLU takes no arguments"},
                    Mistake{"ReLU(inplace=true)", "column 6", "no argument 'inplace'", "ReLU takes no arguments"},
                    Mistake{"Linear(1,2,bais=true)", "column 12", "no argument 'bais'", "did you mean bias?"},
                    Mistake{"Conv2d(1,2,3,groups=2)", "column 14", "no argument 'groups'",
                            "its arguments are: in, out"},
                    Mistake{"Linear(1,2,in=3)", "column 12", "'in' of Linear is given twice", ""},
                    Mistake{"Conv2d(1,2,kernel=3,1)", "column 21", "cannot follow one with a name", ""},
                    Mistake{"Linear(1,out=)", "column 14", "'out' of Linear must be a whole number", ""}));

INSTANTIATE_TEST_SUITE_P(
    Values, ModelMistake,
    testing::Values(Mistake{"Linear(0,10)", "column 8", "from 1 to 2147483647, not '0'", ""},
                    Mistake{"Linear(10,-3)", "column 11", "not '-3'", ""},
                    Mistake{"Linear(1.5,3)", "column 8", "not '1.5'", ""},
                    Mistake{"Linear(ten,3)", "column 8", "not 'ten'", ""},
                    Mistake{"Linear(2147483648,3)", "column 8", "not '2147483648'", ""},
                    Mistake{"Linear(99999999999999999999999,3)", "column 8", "from 1 to 2147483647", ""},
                    Mistake{"MaxPool2d(2,0)", "column 13", "'stride' of MaxPool2d", ""},
                    Mistake{"Conv2d(1,1,3,padding=-1)", "column 22", "from 0 to 2147483647", ""},
                    Mistake{"Linear(1,2,bias=maybe)", "column 17", "true or false, not 'maybe'", ""},
                    Mistake{"Dropout(1)", "column 9", "at least 0 and less than 1, not '1'", ""},
                    Mistake{"Dropout(p=-0.1)", "column 11", "not '-0.1'", ""},
                    Mistake{"Dropout(nan)", "column 9", "not 'nan'", ""},
                    Mistake{"Dropout2d(p=2)", "column 13", "'p' of Dropout2d must be", ""},
                    Mistake{"Linear(2147483647,2147483647)", "column 1", "available by", ""},
                    Mistake{"ReLU Conv2d(2147483647,2147483647,2147483647)", "column 6", "available by", ""}));

INSTANTIATE_TEST_SUITE_P(
    Flow, ModelMistake,
    testing::Values(Mistake{"Linear(784,128) ReLU Linear(100,10)", "column 22",
                            "Linear(100,10) takes 100 features, but the layers before it give 128", ""},
                    Mistake{"Conv2d(1,8,3) MaxPool2d(2) Conv2d(4,8,3)", "column 28", "takes 4 channels", ""},
                    Mistake{"Conv2d(1,8,3) Linear(8,10)", "column 15", "cannot take images", "Flatten"},
                    Mistake{"Linear(4,4) Conv2d(1,8,3)", "column 13", "takes images", ""},
                    Mistake{"Flatten MaxPool2d(2)", "column 9", "takes images", ""},
                    Mistake{"Linear(4,4) Dropout2d", "column 13", "takes images", ""},
                    Mistake{"Linear(4,8) Flatten Linear(4,2)", "column 21", "takes 4 features", ""}));

TEST(ParseModel, TheMessageShowsTheTextWithACaretUnderThePlace) {
  try {
    std::ignore = parse_model("Linear(784,128)\nReLU Linaer(128,10)");
    FAIL() << "no exception";
  } catch (const FormatError& error) {
    EXPECT_STREQ(error.what(),
                 "model: column 22: there is no layer 'Linaer'\n"
                 "  Linear(784,128) ReLU Linaer(128,10)\n"
                 "                       ^");
  }
}

}  // namespace
}  // namespace hogpen
