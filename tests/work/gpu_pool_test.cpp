// CUDA tensors as arguments and results of a Pool's tasks, on the fake driver, where an address of the GPU is one of
// the host. A process that uses a GPU forks no more, so each pool is made before, by a child of the test.
#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "runtime/channel/tensor_codec.h"
#include "runtime/memory/cuda_driver.h"
#include "runtime/memory/tensor_handle.h"
#include "runtime/work/named_task.h"
#include "runtime/work/pool.h"
#include "tests/expect_throw.h"
#include "tests/footprint.h"
#include "tests/forked.h"
#include "tests/notes_on_board.h"

namespace hogpen {
namespace {

const c10::Device kGpu(c10::DeviceType::CUDA, 1);

at::Tensor make_on_gpu(float value) {
  const at::Tensor tensor = empty_shared({4}, c10::ScalarType::Float, kGpu);
  *static_cast<float*>(tensor.mutable_data_ptr()) = value;
  return tensor;
}

float first_of(const at::Tensor& tensor) {
  EXPECT_EQ(tensor.device(), kGpu);
  return *static_cast<const float*>(tensor.const_data_ptr());
}

class GpuPool : public LeavesNothing<> {
 protected:
  void TearDown() override {
    EXPECT_EQ(exit_code_of_child([] {
                (void)make_on_gpu(0);  // looks for what the dead had
                return notes_on_board();
              }),
              0);
    LeavesNothing::TearDown();
  }

  static void alone(const std::function<void()>& body) {
    EXPECT_EQ(exit_code_of_child([&] {
                body();
                return HasFailure() ? 1 : 0;
              }),
              0);
  }
};

TEST_F(GpuPool, TakesTensorsAndReturnsThem) {
  for (const WorkersAs workers_as : {WorkersAs::processes, WorkersAs::threads}) {
    alone([&] {
      Pool pool({.workers = 2, .workers_as = workers_as});
      const at::Tensor mine = make_on_gpu(1);
      const at::Tensor same = pool.apply(
          [](const at::Tensor& tensor) {
            *static_cast<float*>(tensor.mutable_data_ptr()) += first_of(tensor);
            return tensor;
          },
          mine);
      EXPECT_EQ(first_of(mine), 2);
      EXPECT_EQ(same.data_ptr(), mine.data_ptr());
      const std::vector<at::Tensor> made = pool.map(make_on_gpu, std::vector<float>{3, 4, 5}, {.chunk_size = 1});
      pool.close();
      EXPECT_TRUE(pool.join(Deadline::after(std::chrono::seconds(60))));
      ASSERT_EQ(made.size(), 3);  // which the workers' end leaves whole
      for (int i = 0; i < 3; ++i) EXPECT_EQ(first_of(made[static_cast<std::size_t>(i)]), static_cast<float>(i + 3));
    });
  }
}

TEST_F(GpuPool, ATaskWhoseWorkerWasKilledIsRunAgainOnTheSameTensor) {
  alone([] {
    std::string pattern = (std::filesystem::temp_directory_path() / "hogpen-gpu-pool-XXXXXX").string();
    const std::filesystem::path directory = ::mkdtemp(pattern.data());
    std::ofstream(directory / "victim") << "";
    Pool pool({.workers = 1});
    const at::Tensor mine = make_on_gpu(7);
    const float found = pool.apply(
        [](const at::Tensor& tensor, const std::string& victim) {
          const float value = first_of(tensor);
          if (std::filesystem::remove(victim)) ::raise(SIGKILL);  // the first time
          return value;
        },
        mine, (directory / "victim").string());
    EXPECT_EQ(found, 7);
    EXPECT_FALSE(std::filesystem::exists(directory / "victim"));
    std::filesystem::remove_all(directory);
  });
}

TEST_F(GpuPool, WhoseWorkersExecuteAProgramSaysThatTheyTakeNoTensorsOfAGpu) {
  alone([] {
    Pool pool({.workers = 1, .program = {TASK_PROGRAM}});
    const std::string result = message_of([&] { (void)pool.apply(NamedTask<at::Tensor(int)>("make_on_gpu"), 0); });
    EXPECT_NE(result.find("cannot send Segments or CUDA tensors: use forked workers"), std::string::npos) << result;
    const at::Tensor mine = make_on_gpu(1);
    const std::string argument = message_of([&] { pool.apply(NamedTask<void(at::Tensor)>("add_one"), mine); });
    EXPECT_NE(argument.find("cannot receive CUDA tensors: use forked workers"), std::string::npos) << argument;
    EXPECT_EQ(pool.apply(NamedTask<double(double)>("square"), 3), 9.0);
  });
}

}  // namespace
}  // namespace hogpen
