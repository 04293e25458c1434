// Each example as it is, on one cluster, with what it prints.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, readdirSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type TestCluster, startCluster } from "../support/cluster.ts";

const folder = fileURLToPath(new URL("../../examples", import.meta.url));
const linesMax = 80;
let cluster: TestCluster;

beforeAll(async () => {
  cluster = await startCluster({ slots: 2 });
});

afterAll(() => cluster[Symbol.asyncDispose]());

/** What the program prints; it must end well. */
async function outputOf(file: string, args: readonly string[] = []): Promise<string> {
  const child = spawn(process.execPath, [join(folder, file), ...args], {
    env: { ...process.env, ...cluster.environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const out: string[] = [];
  const errors: string[] = [];
  child.stdout.setEncoding("utf8").on("data", (text: string) => out.push(text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => errors.push(text));
  await once(child, "close");
  expect({ code: child.exitCode, stderr: errors.join("") }).toEqual({ code: 0, stderr: "" });
  return out.join("");
}

test.each([
  ["pool", "148933 primes below 2,000,000\n"],
  ["reduce", "6 to\n3 the\n2 and\n"],
  ["cancel", "the first perfect number above 100 is 496\nthe input was ended\nstopped: TimeoutError\n"],
  [
    "failures",
    "pay: pay is done\n" +
      "decline: the bank said no, 3 attempts\n" +
      "hang: took too long\n" +
      "crash: killed its worker (SIGSEGV)\n" +
      "ship: ship is done\n" +
      "2 of 5 went well\n",
  ],
  ["monte-carlo", "seed 42: pi is about 3.143728\n"],
  [
    "from-piscina",
    "7332fc3c 16d0fd68 ff47fe94 f907ffc0 f5bf00fb fdc10227 3de0353 640047f\n" +
      "65536 bytes came back, the first is 255\n",
  ],
])("example %s", async (name, expected) => {
  expect(await outputOf(`${name}/main.ts`)).toBe(expected);
});

test("example stream: a line for each line of its file, in order", async () => {
  const file = cluster.path("lines.txt");
  await writeFile(file, Array.from({ length: 5_000 }, (_, n) => "x".repeat(n % 100)).join("\n"));
  const lines = (await outputOf("stream/main.ts", [file])).trimEnd().split("\n");
  expect(lines.map((line) => line.split(" ")[1])).toEqual(
    Array.from({ length: 5_000 }, (_, n) => String(n % 100)),
  );
  expect(lines[0]).toBe("e3b0c442 0");
});

test("example attach: one program submits, another one reads from the middle", async () => {
  const id = (await outputOf("attach/main.ts")).trim();
  expect(await outputOf("attach/read.ts", [id, "7"])).toBe("7: 343\n8: 512\n9: 729\ncubes is done\n");
});

test("no example has more than 80 lines, and the page names each", () => {
  const page = readFileSync(join(folder, "README.md"), "utf8");
  const names = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  expect(names.length).toBe(8);
  for (const { name } of names) {
    expect(page).toContain(`(${name}/main.ts)`);
    for (const file of readdirSync(join(folder, name)))
      expect(readFileSync(join(folder, name, file), "utf8").split("\n").length).toBeLessThanOrEqual(linesMax);
  }
});
