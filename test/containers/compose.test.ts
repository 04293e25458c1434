// The guide to a cluster in containers, followed as it stands there: up, a job over three agents from this machine's
// command, down; and what `down` keeps is there after the next `up`.

import { execFile } from "node:child_process";
import { rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, expect, test } from "vitest";
import { blocksOf } from "./support/guide.ts";
import { docker } from "./support/images.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const [start, end] = blocksOf("containers.md");

const bash = (script: string): Promise<{ stdout: string; stderr: string }> =>
  promisify(execFile)("bash", ["-euo", "pipefail", "-c", script], {
    cwd: root,
    timeout: 240_000,
    env: { ...process.env, DOCKER_BUILDKIT: "0" }, // the builder that has built them for this run already
  });

afterAll(async () => {
  await bash(`${end} --volumes`);
  await rm(`${root}/cluster.secret`, { force: true });
});

test("the guide's commands give what they promise, and jobs outlive down", async () => {
  const { stdout } = await bash(start!);
  expect(stdout.match(/ connected /g)).toHaveLength(3);
  expect(stdout).toContain('{"index":8,"value":{"n":9,"square":81');
  expect(stdout.trim().split("\n").slice(-3)).toEqual(["item 1", "item 2", "item 3"]);
  const hardened = "{{.Config.User}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}}";
  expect(await docker("inspect", "--format", hardened, "everycore-agent-2")).toBe(
    "1000:1000 [ALL] [no-new-privileges:true]",
  );
  // an anonymous volume would be left behind by `down`
  const mounts = "{{range .Mounts}}{{.Name}} {{end}}";
  expect(await docker("inspect", "--format", mounts, "everycore-agent-2")).toBe("everycore_secret");

  await bash(end!);
  expect(
    await docker("ps", "--all", "--quiet", "--filter", "label=com.docker.compose.project=everycore"),
  ).toBe("");
  const again = start!.split("\n").filter((line) => !/ map | run /.test(line));
  const { stdout: after } = await bash([...again, "npx everycore job list"].join("\n"));
  expect(after.match(/ done /g)).toHaveLength(2);
});
