import { defineConfig } from "vitest/config";

// One project per kind of test; scripts/test.ts runs them one after the other. Forks, not threads: tests start
// real processes, change signals and working directories, and a crash must name its file.
const shared = { pool: "forks" as const, environment: "node" as const };

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          ...shared,
          name: "unit",
          include: ["packages/*/test/**/*.test.ts", "{scripts,bench,test/support}/**/*.test.ts"],
          testTimeout: 20_000,
        },
      },
      {
        test: {
          ...shared,
          name: "sim",
          include: ["test/stories/**/*.test.ts", "test/sim/**/*.test.ts"],
          testTimeout: 120_000,
        },
      },
      {
        test: {
          ...shared,
          name: "integration",
          include: ["test/integration/**/*.test.ts", "test/conformance/**/*.test.ts"],
          maxWorkers: 2,
          testTimeout: 120_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          ...shared,
          name: "containers",
          include: ["test/containers/**/*.test.ts"],
          globalSetup: "test/containers/support/images.ts",
          fileParallelism: false,
          testTimeout: 300_000,
          hookTimeout: 600_000,
        },
      },
    ],
  },
});
