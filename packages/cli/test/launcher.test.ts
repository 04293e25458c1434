// The launcher in a checkout of its own, under this Node and, where the machine has one, under an older Node.

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { cp, mkdir, mkdtemp, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { findBundledNode, isRecentNode } from "../bin/bundled-node.js";

const binFolder = fileURLToPath(new URL("../bin", import.meta.url));
const oldNode = findOldNode();

/** What stands in the place of the command: does as its argument says. */
const MAIN = String.raw`
const [what, value]: string[] = process.argv.slice(2);
if (what === "exit") process.exit(Number(value));
if (what === "die") process.kill(process.pid, value as NodeJS.Signals);
if (what === "print") console.log(process.versions.node.split(".")[0], process.argv.slice(3).join(" "));
if (what === "count") {
  let count = 0;
  process.on("SIGINT", () => {
    count += 1;
    if (count === 1) setTimeout(() => { console.log("interrupts " + count); process.exit(); }, 400);
  });
  process.on("SIGTERM", () => { console.log("terminated"); process.exit(7); });
  console.log("ready");
}
setInterval(() => {}, 1000).ref();
if (what === "print") process.exit();
`;

describe.each([
  { title: "this Node", node: process.execPath },
  { title: "an older Node", node: oldNode ?? "" },
])("under $title", ({ node }) => {
  const runs = test.skipIf(node === "");

  runs("arguments, output and exit codes pass through", async () => {
    await using place = await makeCheckout();
    expect(place.run(node, "print", "a b", "--c")).toMatchObject({ status: 0, stdout: "24 a b --c\n" });
    expect(place.run(node, "exit", "3")).toMatchObject({ status: 3 });
  });

  runs("a command that a signal ended looks so from outside", async () => {
    await using place = await makeCheckout();
    expect(place.run(node, "die", "SIGKILL").signal ?? "SIGKILL").toBe("SIGKILL");
    expect(place.run(node, "die", "SIGTERM")).toMatchObject({ status: null, signal: "SIGTERM" });
  });

  runs("SIGTERM and SIGINT sent to the launcher alone reach the command once", async () => {
    await using place = await makeCheckout();
    expect(await place.signalled(node, "SIGTERM")).toEqual({ code: 7, output: "ready\nterminated\n" });
    expect(await place.signalled(node, "SIGINT")).toEqual({ code: 0, output: "ready\ninterrupts 1\n" });
  });

  runs("Ctrl-C on a terminal reaches the command once", async ({ skip }) => {
    if (spawnSync("python3", ["-c", "import pty"]).status !== 0) skip("needs Python for a terminal");
    await using place = await makeCheckout();
    const answer = spawnSync("python3", ["-c", TERMINAL, node, place.launcher, "count"], {
      encoding: "utf8",
    });
    expect(answer.stdout).toContain("interrupts 1");
  });

  runs("missing dependencies are one sentence", async () => {
    await using place = await makeCheckout();
    await rm(join(place.directory, "node_modules"), { recursive: true });
    const { status, stderr } = place.run(node, "print");
    expect(status).toBe(4);
    expect(stderr).toBe(
      `everycore: its dependencies are not installed: run "npm ci" in ${place.directory}.\n`,
    );
  });
});

test.skipIf(oldNode === undefined)(
  "an older Node with no bundled one beside it says what to install",
  async () => {
    await using place = await makeCheckout();
    await rm(join(place.directory, "node_modules", `node-${process.platform}-${process.arch}`), {
      recursive: true,
    });
    const { status, stderr } = place.run(oldNode ?? "", "print");
    expect(status).toBe(4);
    expect(stderr).toMatch(
      /^everycore: everycore needs Node 24 or later, this is Node .*install Node 24.*\n$/,
    );
  },
);

test("a checkout without sources and without a build says so", async () => {
  await using place = await makeCheckout();
  await rm(join(place.directory, "packages", "cli", "src"), { recursive: true });
  expect(place.run(process.execPath, "print").stderr).toContain(
    "there is no src/main.ts and no dist/main.js",
  );
});

test("an installed package runs its build, even where sources lie beside it", async () => {
  await using place = await makeCheckout();
  const installed = join(place.directory, "node_modules", "everycore");
  await cp(join(place.directory, "packages", "cli"), installed, { recursive: true });
  await mkdir(join(installed, "dist"));
  await writeFile(join(installed, "dist", "main.js"), `console.log("built");`);
  const launcher = join(installed, "bin", "everycore.js");
  expect(spawnSync(process.execPath, [launcher], { encoding: "utf8" }).stdout).toBe("built\n");
});

/** Runs its arguments on a terminal, presses Ctrl-C once they say "ready", prints what they printed. */
const TERMINAL = `
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0: os.execv(sys.argv[1], sys.argv[1:])
seen = b""
pressed = False
while True:
    try: chunk = os.read(terminal, 1024)
    except OSError: break
    if not chunk: break
    seen += chunk
    if b"ready" in seen and not pressed:
        pressed = True
        os.write(terminal, b"\\x03")
os.waitpid(pid, 0)
print(seen.decode())
`;

async function makeCheckout() {
  const directory = await realpath(await mkdtemp(join(tmpdir(), "everycore-launcher-")));
  const cli = join(directory, "packages", "cli");
  await cp(binFolder, join(cli, "bin"), { recursive: true });
  await mkdir(join(cli, "src"));
  await writeFile(join(cli, "src", "main.ts"), MAIN);
  await writeFile(join(cli, "package.json"), `{ "type": "module" }`);
  await writeFile(join(directory, "package-lock.json"), "{}");
  await mkdir(join(directory, "node_modules", "commander"), { recursive: true });
  const bundled = join(directory, "node_modules", `node-${process.platform}-${process.arch}`, "bin");
  await mkdir(bundled, { recursive: true });
  await symlink(process.execPath, join(bundled, "node"));
  const launcher = join(cli, "bin", "everycore.js");
  return {
    directory,
    launcher,
    run: (node: string, ...args: string[]) => spawnSync(node, [launcher, ...args], { encoding: "utf8" }),
    signalled: async (node: string, signal: NodeJS.Signals) => {
      // a session of its own: no terminal, so that the signal is nobody's Ctrl-C
      const child = spawn(node, [launcher, "count"], {
        stdio: ["ignore", "pipe", "inherit"],
        detached: true,
      });
      let output = "";
      child.stdout.on("data", (chunk: Buffer) => {
        output += chunk.toString();
        if (output === "ready\n") child.kill(signal);
      });
      const [code] = await once(child, "close");
      return { code, output };
    },
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
}

/** The Node that the machine had before everycore's own came to the front of PATH. */
function findOldNode(): string | undefined {
  const folders = (process.env.PATH ?? "")
    .split(delimiter)
    .filter((folder) => !folder.includes("node_modules"));
  const bundled = findBundledNode(binFolder);
  return [...folders, "/usr/bin", "/usr/local/bin"]
    .map((folder) => join(folder, "node"))
    .find((path) => {
      if (path === bundled) return false;
      const answer = spawnSync(path, ["--version"], { encoding: "utf8" });
      return answer.status === 0 && !isRecentNode(answer.stdout.slice(1)) && !answer.stdout.startsWith("v1");
    });
}
