#include "models/shared_model.h"

#include <ATen/Functions.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/linear.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>
#include <string>
#include <tuple>

#include "runtime/core/error.h"

namespace hogpen {
namespace {

namespace nn = torch::nn;

// Runs `body` in a forked child; true when it returned true.
bool in_child(const std::function<bool()>& body) {
  const ::pid_t pid = ::fork();
  if (pid == 0) {
    bool ok = false;
    try {
      ok = body();
    } catch (const std::exception& error) {
      fmt::print(stderr, "child: {}\n", error.what());
    }
    ::_exit(ok ? 0 : 1);
  }
  int status = 0;
  return ::waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

template <class Body>
std::string usage_error(Body body) {
  try {
    body();
  } catch (const UsageError& error) {
    return error.what();
  }
  return "no UsageError";
}

std::set<std::string> names_in(const Arena& arena) {
  std::set<std::string> names;
  for (const TensorEntry& entry : arena.header().entries) {
    if (!is_padding(entry)) names.insert(entry.spec.name);
  }
  return names;
}

at::Tensor parameter(const Model& model, const std::string& name) {
  return model.module->named_parameters()[name];
}

bool is_in(const at::Tensor& tensor, const Arena& arena) {
  const auto* begin = static_cast<const std::byte*>(tensor.const_data_ptr());
  return begin >= arena.data().data() && begin + tensor.nbytes() <= arena.data().data() + arena.data().size();
}

Model batch_norm_model() {
  nn::Sequential net(nn::Linear(3, 5), nn::BatchNorm1d(5), nn::Linear(5, 2));
  return {net.ptr(), [net](const at::Tensor& input) mutable { return net->forward(input); }};
}

Model bare_model(std::shared_ptr<nn::Module> module) {
  return {std::move(module), [](const at::Tensor& input) { return input; }};
}

/// A module of the given parameters, named "0", "1", ….
std::shared_ptr<nn::Module> module_of(const std::vector<at::Tensor>& parameters) {
  auto module = std::make_shared<nn::Module>();
  for (const at::Tensor& tensor : parameters) {
    module->register_parameter(std::to_string(module->named_parameters().size()), tensor);
  }
  return module;
}

/// One layer under two names, as an embedding that is also the output layer.
struct Tied : nn::Module {
  Tied() : input(register_module("input", nn::Linear(4, 4))) { register_module("output", input); }
  nn::Linear input;
};

TEST(ShareMemory, KeepsValuesNamesAndRequiresGrad) {
  const Model model = parse_model("Linear(4,3) ReLU Linear(3,2)");
  parameter(model, "2.bias").set_requires_grad(false);
  const at::Tensor input = at::randn({5, 4});
  const at::Tensor before = model.forward(input);
  const at::Tensor weight = parameter(model, "0.weight").detach().clone();

  const Arena arena = share_memory(*model.module);

  EXPECT_EQ(names_in(arena), (std::set<std::string>{"0.weight", "0.bias", "2.weight", "2.bias"}));
  EXPECT_TRUE(at::equal(arena.tensor("0.weight"), weight));
  EXPECT_TRUE(at::equal(model.forward(input), before));
  for (const auto& item : model.module->named_parameters()) EXPECT_TRUE(is_in(item.value(), arena)) << item.key();
  EXPECT_TRUE(parameter(model, "0.weight").requires_grad());
  EXPECT_TRUE(parameter(model, "0.weight").is_leaf());
  EXPECT_FALSE(parameter(model, "2.bias").requires_grad());
}

TEST(ShareMemory, PutsTheMetadataIntoTheArena) {
  const Model model = parse_model("Linear(1,1)");
  EXPECT_EQ(share_memory(*model.module, {{"model", "Linear(1,1)"}}).header().metadata.at("model"), "Linear(1,1)");
}

TEST(ShareMemory, AParameterThatIsNotContiguousKeepsItsValues) {
  const auto module = module_of({at::arange(6, at::kFloat).reshape({2, 3}).t()});
  const Arena arena = share_memory(*module);
  EXPECT_TRUE(at::equal(module->parameters()[0], at::arange(6, at::kFloat).reshape({2, 3}).t()));
  EXPECT_TRUE(is_in(module->parameters()[0], arena));
}

TEST(ShareMemory, RefusesWhatCannotBeShared) {
  EXPECT_EQ(usage_error([] { share_memory(*module_of({})); }), "the module must have parameters to share");
  const auto sparse = module_of({at::zeros({2, 2}), at::eye(3).to_sparse()});
  EXPECT_NE(usage_error([&] { share_memory(*sparse); }).find("1 must be a dense tensor"), std::string::npos);
  const auto elsewhere = module_of({at::empty({2, 2}, at::device(at::kMeta))});
  EXPECT_NE(usage_error([&] { share_memory(*elsewhere); }).find("not dense on meta"), std::string::npos);
}

TEST(ShareMemory, TensorsThatOverlapWithoutBeingTheSameAreNamed) {
  const at::Tensor whole = at::zeros({4, 4});
  const auto module = module_of({at::zeros({2}), whole, whole.select(0, 3)});
  EXPECT_EQ(usage_error([&] { share_memory(*module); }),
            "1 and 2 must be the same tensor or share no memory: they overlap");
  const auto transposed = module_of({whole, whole.t()});
  EXPECT_NE(usage_error([&] { share_memory(*transposed); }), "no UsageError");
  const auto neighbours = module_of({whole.narrow(0, 0, 2), whole.narrow(0, 2, 2)});
  EXPECT_EQ(names_in(share_memory(*neighbours)), (std::set<std::string>{"0", "1"}));
}

TEST(ShareMemory, TiedWeightsLieThereOnceAndStayTied) {
  Tied module;
  const Arena arena = share_memory(module);
  EXPECT_EQ(names_in(arena), (std::set<std::string>{"input.weight", "input.bias"}));
  arena.tensor("input.weight").fill_(2.0);
  EXPECT_TRUE(at::equal(module.named_parameters()["output.weight"], at::full({4, 4}, 2.0)));
}

TEST(ShareMemory, ParametersThatOnlyShareTheirDataAreTiedToo) {
  const at::Tensor a = at::ones({3});
  const at::Tensor b = at::zeros({3});
  b.set_data(a);
  const auto module = module_of({a, b});
  const Arena arena = share_memory(*module);
  EXPECT_EQ(names_in(arena), (std::set<std::string>{"0"}));
  arena.tensor("0").fill_(5.0);
  EXPECT_TRUE(at::equal(b, at::full({3}, 5.0)));
}

TEST(SharedModel, AChildsInPlaceUpdateIsSeenByTheParent) {
  const std::string text = "Linear(4,3) ReLU Linear(3,2)";
  const Model origin = parse_model(text);
  const Arena arena = share_memory(*origin.module);
  SharedModel ours(parse_model(text), arena);
  const at::Tensor expected = parameter(ours.model(), "2.bias").detach() + 1;
  EXPECT_TRUE(in_child([&] {
    SharedModel model(parse_model(text), arena);
    const at::Tensor input = at::ones({1, 4});
    const at::Tensor before = model.forward(input).detach().clone();
    for (const FlatSlice& slice : model.slices()) {
      float* values = model.flat().data_ptr<float>() + slice.offset;
      std::for_each(values, values + slice.numel, [](float& value) { value += 1.0f; });
    }
    return !at::equal(model.forward(input), before);
  }));
  EXPECT_TRUE(at::equal(parameter(ours.model(), "2.bias"), expected));
  EXPECT_TRUE(at::equal(parameter(origin, "2.bias"), expected));
}

TEST(SharedModel, GradientsArePrivate) {
  const std::string text = "Linear(4,3) ReLU Linear(3,2)";
  const Model origin = parse_model(text);
  const Arena arena = share_memory(*origin.module);
  const std::vector<std::byte> before(arena.data().begin(), arena.data().end());
  EXPECT_TRUE(in_child([&] {
    SharedModel model(parse_model(text), arena);
    model.forward(at::ones({1, 4})).sum().backward();
    return std::ranges::all_of(model.parameters(), [&](const at::Tensor& each) {
      return each.grad().defined() && !is_in(each.grad(), arena);
    });
  }));
  EXPECT_TRUE(std::ranges::equal(arena.data(), before));
  for (const at::Tensor& each : origin.module->parameters()) EXPECT_FALSE(each.grad().defined());
}

TEST(SharedModel, SlicesAreTheTrainableParametersInTheModulesOrder) {
  const Model origin = batch_norm_model();
  const Arena arena = share_memory(*origin.module);
  Model fresh = batch_norm_model();
  parameter(fresh, "0.weight").set_requires_grad(false);
  const SharedModel model(fresh, arena);
  std::vector<at::Tensor> expected = fresh.module->parameters();
  expected.erase(expected.begin());
  ASSERT_EQ(model.parameters().size(), expected.size());
  ASSERT_EQ(model.slices().size(), expected.size());
  std::int64_t end = 0;
  std::int64_t begin = model.flat().numel();
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const auto& [offset, numel] = model.slices()[i];
    EXPECT_TRUE(model.parameters()[i].is_same(expected[i]));
    EXPECT_EQ(model.flat().narrow(0, offset, numel).data_ptr(), expected[i].data_ptr());
    EXPECT_EQ(numel, expected[i].numel());
    begin = std::min(begin, offset);
    end = std::max(end, offset + numel);
  }
  EXPECT_EQ(begin, 0);
  EXPECT_EQ(end, model.flat().numel());
}

TEST(SharedModel, AModelThatIsFrozenWhollyHasNothingToTrain) {
  Model model = parse_model("Linear(4,3)");
  for (const at::Tensor& each : model.module->parameters()) each.set_requires_grad(false);
  const SharedModel shared(model, share_memory(*model.module));
  EXPECT_EQ(shared.flat().numel(), 0);
  EXPECT_TRUE(shared.parameters().empty());
  EXPECT_TRUE(shared.slices().empty());
}

TEST(SharedModel, BuffersAreSharedToo) {
  const Model origin = batch_norm_model();
  const Arena arena = share_memory(*origin.module);
  EXPECT_EQ(arena.tensor("1.num_batches_tracked").scalar_type(), at::kLong);
  EXPECT_EQ(arena.tensor("1.num_batches_tracked").dim(), 0);
  EXPECT_TRUE(in_child([&] {
    SharedModel model(batch_norm_model(), arena);
    std::ignore = model.forward(at::randn({8, 3}) + 5);
    std::ignore = model.forward(at::randn({8, 3}) + 5);
    return true;
  }));
  const auto buffers = origin.module->named_buffers();
  EXPECT_EQ(buffers["1.num_batches_tracked"].item<std::int64_t>(), 2);
  EXPECT_FALSE(at::equal(buffers["1.running_mean"], at::zeros({5})));
  EXPECT_FALSE(at::equal(buffers["1.running_var"], at::ones({5})));
}

TEST(SharedModel, TiedWeightsAreOneParameter) {
  const auto origin = std::make_shared<Tied>();
  const Arena arena = share_memory(*origin);
  const auto fresh = std::make_shared<Tied>();
  const SharedModel model(bare_model(fresh), arena);
  EXPECT_EQ(model.parameters().size(), 2u);
  model.flat().fill_(3.0);
  EXPECT_TRUE(at::equal(fresh->named_parameters()["output.weight"], at::full({4, 4}, 3.0)));
  EXPECT_TRUE(at::equal(origin->input->weight, at::full({4, 4}, 3.0)));
}

TEST(SharedModel, ATiedParameterIsTrainedElsewhereUnderEachOfItsNames) {
  const auto module = std::make_shared<Tied>();
  SharedModel model(bare_model(module), share_memory(*module));
  const at::Tensor elsewhere = at::full(model.flat().sizes(), 7.0);
  model.train_in(elsewhere);
  for (const at::Tensor& parameter : module->parameters()) {
    EXPECT_TRUE(at::equal(parameter, at::full(parameter.sizes(), 7.0)));
    EXPECT_TRUE(parameter.requires_grad());
  }
  elsewhere.fill_(8.0);
  EXPECT_TRUE(at::equal(module->named_parameters()["output.weight"], at::full({4, 4}, 8.0)));
  EXPECT_EQ(model.flat().data_ptr(), elsewhere.data_ptr());
}

TEST(SharedModel, ParametersThatOnlyShareTheirDataAreTrainedElsewhereTogether) {
  const at::Tensor a = at::ones({3}).set_requires_grad(true);
  const at::Tensor b = at::zeros({3}).set_requires_grad(true);
  b.set_data(a);
  const auto module = module_of({a, b});
  SharedModel model(bare_model(module), share_memory(*module));
  model.train_in(at::full({3}, 7.0));
  EXPECT_TRUE(at::equal(a, at::full({3}, 7.0)));
  EXPECT_TRUE(at::equal(b, at::full({3}, 7.0)));
}

TEST(SharedModel, BuffersAndFrozenParametersStayWhenTheOthersAreTrainedElsewhere) {
  const Model origin = batch_norm_model();
  parameter(origin, "0.weight").set_requires_grad(false);
  const Arena arena = share_memory(*origin.module);
  SharedModel model(origin, arena);
  const at::Tensor elsewhere = at::zeros(model.flat().sizes());
  model.train_in(elsewhere);
  EXPECT_TRUE(is_in(parameter(origin, "0.weight"), arena));
  EXPECT_FALSE(is_in(parameter(origin, "2.weight"), arena));
  for (const auto& buffer : origin.module->named_buffers()) EXPECT_TRUE(is_in(buffer.value(), arena)) << buffer.key();
}

TEST(SharedModel, ParametersAreTrainedOnlyInMemoryOfTheirSize) {
  const Model origin = batch_norm_model();
  SharedModel model(origin, share_memory(*origin.module));
  EXPECT_THROW(model.train_in(at::zeros({3})), UsageError);
}

TEST(SharedModel, AParameterThatIsAbsentOrOfAnotherShapeIsNamedAndNothingIsBound) {
  const Arena arena = share_memory(*parse_model("Linear(4,3) ReLU Linear(3,2)").module);
  const Model longer = parse_model("Linear(4,3) ReLU Linear(3,2) ReLU Linear(2,2)");
  EXPECT_NE(usage_error([&] { SharedModel(longer, arena); }).find("4.weight"), std::string::npos);
  const Model wider = parse_model("Linear(4,3) ReLU Linear(3,5)");
  EXPECT_EQ(usage_error([&] { SharedModel(wider, arena); }),
            "2.weight must be Float [5, 3] as in the module, but is Float [2, 3] in shared memory");
  const Model finer = parse_model("Linear(4,3) ReLU Linear(3,2)");
  finer.module->to(at::kDouble);
  EXPECT_EQ(usage_error([&] { SharedModel(finer, arena); }),
            "0.weight must be Double [3, 4] as in the module, but is Float [3, 4] in shared memory");
  for (const Model& model : {longer, wider, finer}) {
    for (const at::Tensor& each : model.module->parameters()) EXPECT_FALSE(is_in(each, arena));
  }
}

TEST(SharedModel, ATrainableParameterOfDoublesIsRefused) {
  const Model model = parse_model("Linear(4,3)");
  model.module->to(at::kDouble);
  const Arena arena = share_memory(*model.module);
  EXPECT_EQ(usage_error([&] { SharedModel(model, arena); }),
            "0.weight must be float32 to be trained, not Double [3, 4]");
}

TEST(SharedModel, AModelWithoutAModuleIsRefused) {
  const Arena arena = share_memory(*parse_model("Linear(1,1)").module);
  EXPECT_NE(usage_error([&] { SharedModel(Model{}, arena); }), "no UsageError");
}

std::ptrdiff_t open_descriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return std::distance(begin(all), end(all));
}

std::ptrdiff_t shared_mappings() {
  std::ifstream maps("/proc/self/maps");
  std::ptrdiff_t count = 0;
  for (std::string line; std::getline(maps, line);) count += line.find("memfd:hogpen:") != std::string::npos;
  return count;
}

TEST(SharedModel, AThousandTensorsTakeOneDescriptorAndOneMapping) {
  const auto make = [] {
    std::vector<at::Tensor> tensors;
    for (int i = 0; i < 1000; ++i) tensors.push_back(at::full({7}, static_cast<float>(i)));
    return bare_model(module_of(tensors));
  };
  const Model origin = make();
  Model fresh = make();
  const std::ptrdiff_t descriptors = open_descriptors();
  const std::ptrdiff_t mappings = shared_mappings();

  const Arena arena = share_memory(*origin.module);
  const auto start = std::chrono::steady_clock::now();
  const SharedModel model(std::move(fresh), arena);
  const std::chrono::duration<double, std::micro> taken = std::chrono::steady_clock::now() - start;
  fmt::print("binding 1000 tensors took {:.0f} us\n", taken.count());

  EXPECT_EQ(open_descriptors(), descriptors + 1);
  EXPECT_EQ(shared_mappings(), mappings + 1);
  ASSERT_EQ(model.parameters().size(), 1000u);
  EXPECT_TRUE(at::equal(model.parameters()[999], at::full({7}, 999.0f)));
}

}  // namespace
}  // namespace hogpen
