/** The random streams of items are a contract: a job run again next year draws the same (P6). */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { randomOf } from "../../src/runtimes/host/random.ts";

interface Vector {
  seed: string;
  index: number;
  jsFloats: number[];
}

const path = new URL("../../../../proto/vectors/random.json", import.meta.url);
const vectors = JSON.parse(readFileSync(path, "utf8")) as Vector[];

test.each(vectors)("seed $seed, item $index", ({ seed, index, jsFloats }) => {
  const random = randomOf(seed, index);
  expect(jsFloats.map(() => random())).toEqual(jsFloats);
});
