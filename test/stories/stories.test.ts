// Each story in this folder, command by command. EVERYCORE_REWRITE_STORIES=1 writes what the leader does instead.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parseStory, Story } from "./story.ts";

const dir = import.meta.dirname;
const isRewriting = process.env["EVERYCORE_REWRITE_STORIES"] === "1";
const files = readdirSync(dir)
  .filter((name) => name.endsWith(".txt"))
  .sort();

test.for(files)("%s", (name) => {
  const path = join(dir, name);
  const { blocks, tail } = parseStory(readFileSync(path, "utf8"));
  expect(blocks.length).toBeGreaterThan(0);
  const story = new Story();
  const written: string[] = [];
  for (const { before, command, expected } of blocks) {
    const output = story.run(command);
    if (!isRewriting) expect(output, `${name}: ${command}`).toBe(expected);
    written.push(`${before}${command}\n----\n${output}${output === "" ? "" : "\n"}`);
  }
  if (isRewriting) writeFileSync(path, `${`${written.join("")}${tail}`.trimEnd()}\n`);
});

test("a story that is not well formed is refused", () => {
  expect(() => parseStory("report a\nno rule\n")).toThrow('line 2: "----" expected');
  expect(() => new Story().run("dance")).toThrow('no command "dance"');
});
