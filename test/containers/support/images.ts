// Images for a run, built once before its first test: our Dockerfiles, as users build them. The builder's exit code
// decides: to ask whether an image of that name exists would find the one of an earlier run.

import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { TestProject } from "vitest/node";

const execFileAsync = promisify(execFile);
const root = fileURLToPath(new URL("../../..", import.meta.url));

declare module "vitest" {
  // oxlint-disable-next-line typescript/consistent-type-definitions -- merged with vitest's own
  interface ProvidedContext {
    /** Their ids. */
    readonly images: {
      readonly coordinator: string;
      readonly agent: string;
      readonly bare: string;
      readonly network: string;
    };
  }
}

/** Runs a docker command to its end and gives what it printed. */
export async function docker(...args: readonly string[]): Promise<string> {
  const { stdout } = await execFileAsync("docker", args, {
    cwd: root,
    maxBuffer: 16 * 1024 * 1024,
    env: { ...process.env, DOCKER_BUILDKIT: "0" }, // every engine has this builder: the Dockerfiles keep to it
  });
  return stdout.trim();
}

async function build(file: string, tag: string): Promise<string> {
  return docker("build", "--quiet", "--file", file, "--tag", tag, ".");
}

export async function setup(project: TestProject): Promise<void> {
  const coordinator = await build("deploy/docker/coordinator.Dockerfile", "everycore/coordinator");
  const agent = await build("deploy/docker/agent.Dockerfile", "everycore/agent");
  const bare = await build("test/containers/bare.Dockerfile", "everycore-test/bare");
  const network = await build("test/containers/network.Dockerfile", "everycore-test/network");
  project.provide("images", { coordinator, agent, bare, network });
}
