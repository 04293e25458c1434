import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { type Manifest, publishedManifest } from "./published-manifest.ts";

const plain: Manifest = {
  name: "@everycore/example",
  version: "1.2.3",
  private: true,
  description: "an example",
  license: "Apache-2.0",
  type: "module",
  exports: { ".": "./src/index.ts", "./*": "./src/*.ts" },
  dependencies: { "@everycore/protocol": "*", msgpackr: "~2.1.0" },
  peerDependencies: { "@everycore/protocol": "*" },
  engines: { node: ">=22" },
};
const versions = new Map([["@everycore/protocol", "1.2.3"]]);

test("what is published is JavaScript, may be published, and names exact versions of its siblings", () => {
  const published = publishedManifest(plain, { files: ["dist"], versions });
  expect(published).not.toHaveProperty("private");
  expect(published.exports).toEqual({
    ".": { types: "./dist/index.d.ts", default: "./dist/index.js" },
    "./*": { types: "./dist/*.d.ts", default: "./dist/*.js" },
    "./package.json": "./package.json",
  });
  expect(published.dependencies).toEqual({ "@everycore/protocol": "1.2.3", msgpackr: "~2.1.0" });
  expect(published.peerDependencies).toEqual({ "@everycore/protocol": "1.2.3" });
});

test("a dependency on any version, and an export that is no source, are not published", () => {
  const any = { ...plain, dependencies: { elsewhere: "*" } };
  expect(() => publishedManifest(any, { files: [], versions })).toThrow(/elsewhere has no version/);
  const odd = { ...plain, exports: { ".": "./lib/index.js" } };
  expect(() => publishedManifest(odd, { files: [], versions })).toThrow(/not a source file/);
});

test("the workspace itself cannot be published by accident, and its packages have one version", () => {
  const read = (path: string): Manifest =>
    JSON.parse(readFileSync(new URL(path, import.meta.url), "utf8")) as Manifest; // our own files
  const { version } = read("../package.json");
  for (const name of ["protocol", "client", "coordinator", "node-agent", "cli"]) {
    expect(read(`../packages/${name}/package.json`)).toMatchObject({ private: true, version });
  }
});
