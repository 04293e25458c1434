/** What may come next on a command line, and the script that asks for it. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";
import { complete } from "../src/completion.ts";
import { program } from "../src/program.ts";

const after = (line: string): string[] =>
  complete(program(), line.split(" ")).candidates.map(({ text }) => text);

test("verbs, at each level; hidden ones are not offered", () => {
  expect(after("job wa")).toEqual(["watch", "wait"]);
  expect(after("")).toEqual(expect.arrayContaining(["map", "run", "job", "completion"]));
  expect(after("")).not.toContain("__complete");
  expect(after("em")).toEqual([]);
});

test("flags of the verb, and the choices of a flag's value", () => {
  expect(after("map task.ts --prog")).toEqual(["--progress"]);
  expect(after("map task.ts --progress ")).toEqual(["auto", "bar", "plain", "none"]);
  expect(after("map task.ts --progress plain --ran")).toEqual(["--range"]);
  expect(after("job list --state ru")).toEqual(["running"]);
  expect(after("completion z")).toEqual(["zsh"]);
});

test("jobs and nodes are asked of the cluster; files and other programs' words are the shell's", () => {
  expect(complete(program(), ["job", "pause", "1a"]).asked).toBe("job");
  expect(complete(program(), ["job", "results", "--from", "3", ""]).asked).toBe("job");
  expect(complete(program(), ["node", "undrain", ""]).asked).toBe("node");
  for (const line of ["map ", "map --out ", "run --range 1-2 -- gzip -", "run gzip -", "job get 1a 2b "])
    expect(complete(program(), line.split(" "))).toEqual({ candidates: [], asked: undefined });
});

test("bash completes by its script", () => {
  const main = join(import.meta.dirname, "../src/main.ts");
  const script = `
    everycore() { ${JSON.stringify(process.execPath)} ${JSON.stringify(main)} "$@"; }
    source <(everycore completion bash)
    COMP_WORDS=(everycore job wa) COMP_CWORD=2
    _everycore everycore
    printf '%s\\n' "\${COMPREPLY[@]}"`;
  expect(execFileSync("bash", ["-c", script], { encoding: "utf8" })).toBe("watch\nwait\n");
});
