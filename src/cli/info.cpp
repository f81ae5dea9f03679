// The verbs that only tell: env, report.
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <torch/version.h>
#include <unistd.h>

#include <fstream>
#include <iostream>

#include "luce/base/file.h"
#include "luce/base/progress.h"
#include "luce/data/training_report.h"
#include "luce/model/causal_lm.h"
#include "luce/ops/device.h"
#include "luce/version.h"
#include "verbs.h"

namespace luce::cli {
namespace {

std::string first_value(const char* path, const std::string& key) {
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);)
    if (line.starts_with(key)) {
      const auto at = line.find_first_not_of(" \t:", key.size());
      return at == std::string::npos ? "" : line.substr(at);
    }
  return "unknown";
}

void env() {
  char host_glibc[64] = "unknown";
  confstr(_CS_GNU_LIBC_VERSION, host_glibc, sizeof host_glibc);
  std::cout << "luce:      " << kVersion << "\n"
            << "compiler:  " << __VERSION__ << "\n"
            << "LibTorch:  " << TORCH_VERSION << " (headers)\n"
            << "libc:      " << host_glibc << "\n"
            << "processor: " << first_value("/proc/cpuinfo", "model name") << "\n"
            << "threads:   " << at::get_num_threads() << " of " << sysconf(_SC_NPROCESSORS_ONLN)
            << " cores\n"
            << "LibTorch's kernels: " << at::get_cpu_capability() << "\n"
            << "memory:    " << first_value("/proc/meminfo", "MemTotal") << " in all, "
            << first_value("/proc/meminfo", "MemAvailable") << " available\n"
            << "device:    " << describe_device(device_of("auto", "env")) << "\n"
            << "GPU:       " << (why_no_gpu().empty() ? "usable" : why_no_gpu()) << "\n";
}

}  // namespace

void add_env(CLI::App& app, Context&) {
  app.add_subcommand("env", "Describe this machine and build, for bug reports")->callback(env);
}

void add_report(CLI::App& app, Context&) {
  auto folder = std::make_shared<std::string>();
  CLI::App* verb = app.add_subcommand("report", "Draw report.html of a run anew");
  verb->add_option("OUTPUT", *folder, "The output_dir of a run")->required();
  verb->callback([folder] {
    const std::filesystem::path path = std::filesystem::path(*folder) / "report.html";
    write_file_atomic(path, training_report(*folder).html());
    std::cout << path.string() << "\n";
  });
}

}  // namespace luce::cli
