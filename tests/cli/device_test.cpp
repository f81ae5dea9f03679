// What decides where and how the program computes: environment, flags and config.
#include "program.h"

namespace luce::cli_test {
namespace {

TEST(CliDevice, RefusesThreadsThatAreNoNumber) {
  for (const std::string bad : {"two", "0", "-1", "2x"}) {
    const Outcome out = luce({"--version"}, {{"LUCE_THREADS", bad}});
    EXPECT_EQ(out.code, 64) << bad;
    EXPECT_EQ(out.sentence(), "LUCE_THREADS must be a number above 0; got \"" + bad + "\"");
  }
}

TEST(CliDevice, SaysHowManyThreadsAndWhichKernels) {
  const Outcome out = luce({"env"}, {{"LUCE_THREADS", "1"}, {"LUCE_ISA", "portable"}});
  EXPECT_EQ(out.code, 0);
  EXPECT_NE(out.out.find("device:    cpu, 1 thread, portable kernels\n"), std::string::npos)
      << out.out;
}

TEST(CliDevice, RefusesAnInstructionSetThatItDoesNotKnow) {
  const Outcome out = luce({"env"}, {{"LUCE_ISA", "mmx"}});
  EXPECT_EQ(out.code, 64);
  EXPECT_EQ(out.sentence(), "LUCE_ISA must be portable, avx2 or avx512; got \"mmx\"");
}

TEST(CliDevice, GivesTheSameBitsOnAnyNumberOfThreadsInTheBatchInvariantMode) {
  const auto generated = [](const char* threads) {
    return luce({"generate", golden("tiny"), "--prompt", "the cat", "--n", "5", "--json",
                 "--max-new-tokens", "12", "--batch-invariant"},
                {{"LUCE_THREADS", threads}})
        .out;
  };
  const std::string one = generated("1");
  EXPECT_NE(one.find("\"logps\": ["), std::string::npos);
  EXPECT_EQ(generated("2"), one);
}

TEST(CliDevice, RefusesSettingsThatCannotBeMet) {
  const Workspace at;
  expect_refusal(at, {"check", at.dpo, "head.chunk_mb=0"}, 64,
                 "command line (head.chunk_mb=0): head.chunk_mb must be \"auto\" or a whole number "
                 "from 1 to 1048576; got 0");
  expect_refusal(at, {"check", at.dpo, "model.dtype=bfloat16", "model.batch_invariant=true"}, 64,
                 "model.batch_invariant needs float32 on the CPU; this model is bfloat16 on cpu");
}

#if !defined(LUCE_CUDA)
TEST(CliDevice, SaysWhyThereIsNoGpu) {
  const Outcome out = luce({"generate", golden("tiny"), "--prompt", "a", "--device", "cuda"});
  EXPECT_EQ(out.code, 71);
  EXPECT_EQ(out.sentence(),
            "--device: device \"cuda\": this build has no CUDA kernels; configure with "
            "-DLUCE_CUDA=ON (the preset \"cuda\")");
}
#endif

}  // namespace
}  // namespace luce::cli_test
