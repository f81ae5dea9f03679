#include <sys/mman.h>
#include <ucontext.h>

#include <barrier>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "cuda_runtime.h"
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

thread_local uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace {
constexpr size_t kShared = 227 * 1024;  // of an H100, as the attributes below
}
namespace luce::cuda {
// What common.cuh declares as the block's dynamic shared memory.
extern thread_local uint4 shared_words[kShared / sizeof(uint4)];
thread_local uint4 shared_words[kShared / sizeof(uint4)];
}  // namespace luce::cuda

namespace emulator {
namespace {

constexpr size_t kStack = 128 * 1024;
constexpr unsigned char kPoison = 0xff;  // NaN as f32, f64 and bf16, −1 as an integer

[[noreturn]] void fail(const char* text) {
  std::fprintf(stderr, "The emulated kernel failed at block %u thread %u: %s.\n", blockIdx.x,
               threadIdx.x, text);
  std::_Exit(1);
}

/// Switches stacks; AddressSanitizer wants to hear of it.
struct Stack {
  ucontext_t context;
  void* bottom = nullptr;
  size_t size = 0;
};
void switch_to(Stack& from, Stack& to, [[maybe_unused]] bool for_good = false) {
#if defined(__SANITIZE_ADDRESS__)
  void* frames = nullptr;
  __sanitizer_start_switch_fiber(for_good ? nullptr : &frames, to.bottom, to.size);
  swapcontext(&from.context, &to.context);
  __sanitizer_finish_switch_fiber(frames, nullptr, nullptr);
#else
  swapcontext(&from.context, &to.context);
#endif
}

enum class State { ready, waiting, done };

struct Fiber {
  Stack stack;
  State state = State::ready;
  Barrier barrier = Barrier::warp;
  int exchanges = 0;
};

/// A block and the cluster it is part of.
struct Block {
  int rank = 0, threads = 0;
  size_t shared_bytes = 0;
  unsigned char* shared = nullptr;
  const std::function<void()>* body = nullptr;
  std::vector<Block>* cluster = nullptr;
  std::vector<Fiber> fibers;
  std::vector<uint64_t> slots;  // of exchanges, two per thread: the next may begin before all read
  Stack scheduler;
  int current = 0;
  std::mt19937 random;
};

thread_local Block* block = nullptr;

void enter() {
  Block& b = *block;
#if defined(__SANITIZE_ADDRESS__)
  const void* bottom = nullptr;
  __sanitizer_finish_switch_fiber(nullptr, &bottom, &b.scheduler.size);
  b.scheduler.bottom = const_cast<void*>(bottom);
#endif
  (*b.body)();
  Fiber& self = b.fibers[b.current];
  self.state = State::done;
  switch_to(self.stack, b.scheduler, true);
}

void* stack_of(int rank, int thread) {
  static std::map<std::pair<int, int>, void*> stacks;
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  void*& stack = stacks[{rank, thread}];
  if (!stack) {
    stack = mmap(nullptr, kStack, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stack == MAP_FAILED) fail("there is no memory for its stack");
  }
  return stack;
}

void begin(Block& b) {
  block = &b;
  b.shared = reinterpret_cast<unsigned char*>(luce::cuda::shared_words);
  std::memset(b.shared, kPoison, b.shared_bytes);
  b.fibers.resize(b.threads);
  b.slots.resize(b.threads * 2);
  for (int i = 0; i < b.threads; ++i) {
    Stack& stack = b.fibers[i].stack;
    stack.bottom = stack_of(b.rank, i);
    stack.size = kStack;
    getcontext(&stack.context);
    stack.context.uc_stack.ss_sp = stack.bottom;
    stack.context.uc_stack.ss_size = kStack;
    stack.context.uc_link = nullptr;
    makecontext(&stack.context, enter, 0);
  }
}

/// Lets `count` threads go on if all of them wait there.
bool release(Block& b, int first, int count, Barrier barrier) {
  for (int i = first; i < first + count; ++i)
    if (b.fibers[i].state != State::waiting || b.fibers[i].barrier != barrier) return false;
  for (int i = first; i < first + count; ++i) b.fibers[i].state = State::ready;
  return true;
}

/// Runs a block until it has ended (true) or all its threads wait for the cluster (false).
bool run_phase(Block& b) {
  release(b, 0, b.threads, Barrier::cluster);
  std::vector<int> order(b.threads);
  for (int i = 0; i < b.threads; ++i) order[i] = i;
  std::vector<char> chosen(b.threads / 32, 1);
  for (int round = 0;; ++round) {
    // For some rounds a few warps, never all, run ahead as far as barriers let them.
    if (round % 8 == 0) {
      for (char& c : chosen) c = b.random() % 4 == 0;
      const size_t first = b.random() % chosen.size();
      chosen[(first + 1) % chosen.size()] = 0;
      chosen[first] = 1;
    }
    bool chosen_ready = false;
    for (int i = 0; i < b.threads; ++i)
      chosen_ready |= chosen[i / 32] && b.fibers[i].state == State::ready;
    std::shuffle(order.begin(), order.end(), b.random);
    bool moved = false;
    for (const int i : order) {
      Fiber& fiber = b.fibers[i];
      if (fiber.state != State::ready || (chosen_ready && !chosen[i / 32])) continue;
      moved = true;
      b.current = i;
      threadIdx = {static_cast<unsigned>(i), 0, 0};
      switch_to(b.scheduler, fiber.stack);
    }
    for (int i = 0; i < b.threads; i += 32) moved |= release(b, i, 32, Barrier::warp);
    moved |= release(b, 0, b.threads, Barrier::block);
    if (moved) continue;
    int done = 0, at_cluster = 0;
    for (const Fiber& fiber : b.fibers) {
      done += fiber.state == State::done;
      at_cluster += fiber.state == State::waiting && fiber.barrier == Barrier::cluster;
    }
    if (at_cluster == b.threads) return false;
    if (done < b.threads) fail("threads wait for others that have ended or wait elsewhere");
    std::memset(b.shared, kPoison, b.shared_bytes);
    return true;
  }
}

/// Blocks of a cluster take turns from one of its barriers to the next, each on a thread of the
/// system, whose shared memory stays until the last has ended.
void run_cluster(std::vector<Block>& blocks, unsigned first, unsigned y, std::mt19937& random) {
  const size_t count = blocks.size();
  std::vector<size_t> order(count);
  for (size_t i = 0; i < count; ++i) order[i] = i;
  std::shuffle(order.begin(), order.end(), random);
  std::barrier all(static_cast<ptrdiff_t>(count));
  size_t ended = 0;
  const auto run = [&](size_t rank) {
    blockIdx = {first + static_cast<unsigned>(rank), y, 0};
    begin(blocks[rank]);
    for (;;) {
      all.arrive_and_wait();
      for (const size_t turn : order) {
        if (turn == rank) ended += run_phase(blocks[rank]);
        all.arrive_and_wait();
      }
      if (ended == count) return;
      if (ended > 0) fail("it waits for blocks of its cluster that have ended");
    }
  };
  if (count == 1) return run(0);
  std::vector<std::thread> threads;
  for (size_t rank = 0; rank < count; ++rank) threads.emplace_back(run, rank);
  for (std::thread& thread : threads) thread.join();
}

std::map<const void*, size_t>& shared_limits() {
  static std::map<const void*, size_t> limits;
  return limits;
}
cudaError_t& last_error() {
  static cudaError_t error = cudaSuccess;
  return error;
}
cudaError_t set_error(cudaError_t error) { return last_error() = error; }

}  // namespace

void wait(Barrier barrier) {
  Fiber& self = block->fibers[block->current];
  self.state = State::waiting;
  self.barrier = barrier;
  switch_to(self.stack, block->scheduler);
}

void* shared_of(int rank, const void* p) {
  const ptrdiff_t offset = static_cast<const unsigned char*>(p) - block->shared;
  if (offset < 0 || offset >= static_cast<ptrdiff_t>(block->shared_bytes) ||
      rank >= static_cast<int>(block->cluster->size()))
    fail("it maps what is not the cluster's shared memory");
  return (*block->cluster)[rank].shared + offset;
}

int lane() { return block->current % 32; }

void exchange(unsigned mask, void* x, size_t size, int from) {
  if (mask != 0xffffffffU) fail("only shuffles of full warps are emulated");
  const int thread = block->current, parity = block->fibers[thread].exchanges++ % 2;
  std::memcpy(&block->slots[thread * 2 + parity], x, size);
  wait(Barrier::warp);
  std::memcpy(x, &block->slots[(thread / 32 * 32 + from) * 2 + parity], size);
}

cudaError_t allow_shared(const void* kernel, int bytes) {
  if (bytes < 0 || static_cast<size_t>(bytes) > kShared) return set_error(cudaErrorInvalidValue);
  shared_limits()[kernel] = bytes;
  return cudaSuccess;
}

cudaError_t launch(const cudaLaunchConfig_t& config, const void* kernel,
                   const std::function<void()>& body) {
  static std::mt19937 random(1);
  const unsigned cluster = config.numAttrs > 0 ? config.attrs[0].val.clusterDim.x : 1;
  const auto limit = shared_limits().find(kernel);
  const size_t allowed = limit == shared_limits().end() ? 48 * 1024 : limit->second;
  const dim3 grid = config.gridDim;
  if (config.blockDim.x == 0 || config.blockDim.x > 1024 || grid.x == 0 || grid.x > INT_MAX ||
      grid.y == 0 || grid.y > 65535 || cluster == 0 || cluster > 8 || grid.x % cluster != 0 ||
      config.dynamicSmemBytes > allowed)
    return set_error(cudaErrorInvalidConfiguration);
  if (config.blockDim.x % 32 != 0 || grid.z != 1) fail("only whole warps and flat grids run here");
  blockDim = config.blockDim;
  gridDim = grid;
  std::vector<unsigned> order(grid.x / cluster * grid.y);
  for (unsigned i = 0; i < order.size(); ++i) order[i] = i;
  std::shuffle(order.begin(), order.end(), random);
  for (const unsigned item : order) {
    std::vector<Block> blocks(cluster);
    for (unsigned rank = 0; rank < cluster; ++rank) {
      Block& b = blocks[rank];
      b.rank = static_cast<int>(rank);
      b.threads = static_cast<int>(blockDim.x);
      b.shared_bytes = config.dynamicSmemBytes;
      b.body = &body;
      b.cluster = &blocks;
      b.random.seed(random());
    }
    run_cluster(blocks, item % (grid.x / cluster) * cluster, item / (grid.x / cluster), random);
  }
  return cudaSuccess;
}

}  // namespace emulator

cudaError_t cudaGetLastError() {
  const cudaError_t error = emulator::last_error();
  emulator::last_error() = cudaSuccess;
  return error;
}
const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaSuccess             ? "no error"
         : error == cudaErrorInvalidValue ? "invalid argument"
                                          : "invalid configuration argument";
}
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  *value = attribute == cudaDevAttrClusterLaunch                      ? 1
           : attribute == cudaDevAttrMaxSharedMemoryPerMultiprocessor ? 228 * 1024
                                                                      : static_cast<int>(kShared);
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }
cudaError_t cudaMalloc(void** p, size_t bytes) {
  *p = std::malloc(bytes);
  return cudaSuccess;
}
cudaError_t cudaFree(void* p) {
  std::free(p);
  return cudaSuccess;
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
