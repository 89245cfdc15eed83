#include "models/shared_model.h"

#include <fmt/ranges.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <map>
#include <utility>

#include "runtime/core/error.h"

namespace hogpen {
namespace {

struct NamedTensor {
  std::string name;
  at::Tensor tensor;
  bool is_parameter = false;
  std::size_t first = 0;  ///< index of the first name of the same tensor; its own where it has one name
};

bool is_same(const at::Tensor& a, const at::Tensor& b) {
  return a.data_ptr() == b.data_ptr() && a.scalar_type() == b.scalar_type() && a.sizes() == b.sizes() &&
         a.strides() == b.strides();
}

const std::byte* begin_of(const at::Tensor& tensor) {
  return static_cast<const std::byte*>(tensor.const_data_ptr());
}

const std::byte* end_of(const at::Tensor& tensor) {
  std::int64_t last = 0;
  for (std::int64_t i = 0; i < tensor.dim(); ++i) last += (tensor.size(i) - 1) * tensor.stride(i);
  return begin_of(tensor) + static_cast<std::size_t>(last + 1) * tensor.element_size();
}

// In shared memory every tensor gets a place of its own, so that tensors which are tied in any other way than by being
// the same would come apart without a word.
void find_ties(std::vector<NamedTensor>& all) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i].tensor.numel() > 0) order.push_back(i);
  }
  std::ranges::stable_sort(order, std::less<>{}, [&](std::size_t i) { return begin_of(all[i].tensor); });
  for (std::size_t i = 1; i < order.size(); ++i) {
    const NamedTensor& before = all[order[i - 1]];
    NamedTensor& item = all[order[i]];
    if (is_same(before.tensor, item.tensor)) {
      item.first = before.first;
    } else {
      require(end_of(before.tensor) <= begin_of(item.tensor),
              "{} and {} must be the same tensor or share no memory: they overlap", before.name, item.name);
    }
  }
}

/// Parameters, then buffers, as `state_dict()` names them.
std::vector<NamedTensor> tensors_of(const torch::nn::Module& module) {
  std::vector<NamedTensor> all;
  for (const auto& item : module.named_parameters()) all.push_back({item.key(), item.value(), true, all.size()});
  require(!all.empty(), "the module must have parameters to share");
  for (const auto& item : module.named_buffers()) all.push_back({item.key(), item.value(), false, all.size()});
  for (const NamedTensor& item : all) {
    require(item.tensor.layout() == c10::kStrided && item.tensor.device().is_cpu(),
            "{} must be a dense tensor on the CPU to be shared, not {} on {}", item.name,
            item.tensor.layout() == c10::kStrided ? "dense" : "sparse", item.tensor.device().str());
  }
  find_ties(all);
  return all;
}

std::string describe(const at::Tensor& tensor) {
  return fmt::format("{} [{}]", c10::toString(tensor.scalar_type()), fmt::join(tensor.sizes(), ", "));
}

// A view of the Arena for each of the tensors, one for all names of the same.
std::vector<at::Tensor> views_of(const Arena& arena, const std::vector<NamedTensor>& all) {
  std::vector<at::Tensor> views;
  views.reserve(all.size());
  for (const NamedTensor& item : all) {
    views.push_back(item.first < views.size() ? views[item.first] : arena.tensor(item.name));
    const at::Tensor& view = views.back();
    require(view.scalar_type() == item.tensor.scalar_type() && view.sizes() == item.tensor.sizes(),
            "{} must be {} as in the module, but is {} in shared memory", item.name, describe(item.tensor),
            describe(view));
  }
  return views;
}

// The module's layers hold handles of their own to their parameters. So the tensors stay and their data is exchanged.
void bind(const std::vector<NamedTensor>& all, const std::vector<at::Tensor>& views) {
  for (std::size_t i = 0; i < all.size(); ++i) all[i].tensor.set_data(views[i]);
}

}  // namespace

Arena share_memory(torch::nn::Module& module, const std::map<std::string, std::string>& metadata) {
  const std::vector<NamedTensor> all = tensors_of(module);
  std::vector<TensorSpec> specs;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i].first == i) specs.push_back({all[i].name, all[i].tensor.scalar_type(), all[i].tensor.sizes().vec()});
  }
  Arena arena = Arena::create("model", specs, metadata);
  const std::vector<at::Tensor> views = views_of(arena, all);
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i].first == i) views[i].copy_(all[i].tensor.detach());
  }
  bind(all, views);
  return arena;
}

SharedModel::SharedModel(Model model, Arena arena) : model_(std::move(model)), arena_(std::move(arena)) {
  require(model_.module && model_.forward, "a shared model needs a module and its forward function");
  const std::vector<NamedTensor> all = tensors_of(*model_.module);
  const std::vector<at::Tensor> views = views_of(arena_, all);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto& [name, tensor, is_parameter, first] = all[i];
    // An empty tensor has nothing to train, and no address.
    if (!is_parameter || first != i || !tensor.requires_grad() || tensor.numel() == 0) continue;
    require(tensor.scalar_type() == c10::kFloat, "{} must be float32 to be trained, not {}", name, describe(tensor));
    parameters_.push_back(tensor);
  }
  bind(all, views);
  find_slices();
}

void SharedModel::train_in(at::Tensor flat) {
  require(flat.sizes() == flat_.sizes() && flat.scalar_type() == c10::kFloat,
          "the parameters must be {} as flat(), not {}", describe(flat_), describe(flat));
  std::map<const void*, at::Tensor> views;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    views[parameters_[i].data_ptr()] = flat.narrow(0, slices_[i].offset, slices_[i].numel).view(parameters_[i].sizes());
  }
  // Every name of a parameter, also where it is tied.
  for (const NamedTensor& item : tensors_of(*model_.module)) {
    const auto view = item.is_parameter ? views.find(item.tensor.data_ptr()) : views.end();
    if (view != views.end()) item.tensor.set_data(view->second);
  }
  flat_ = std::move(flat);
}

void SharedModel::find_slices() {
  std::size_t begin = parameters_.empty() ? 0 : std::numeric_limits<std::size_t>::max();
  std::size_t end = 0;
  const auto place = [&](const at::Tensor& tensor) {
    return static_cast<std::size_t>(begin_of(tensor) - arena_.data().data());
  };
  for (const at::Tensor& parameter : parameters_) {
    begin = std::min(begin, place(parameter));
    end = std::max(end, place(parameter) + parameter.nbytes());
  }
  flat_ = arena_.flat(begin, end);
  for (const at::Tensor& parameter : parameters_) {
    slices_.push_back({static_cast<std::int64_t>((place(parameter) - begin) / sizeof(float)), parameter.numel()});
  }
}

}  // namespace hogpen
