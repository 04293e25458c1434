/** Files of `run`: what is shipped and what is refused, what is written of what comes back, what is remarked on. */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Outcome } from "@everycore/client/internal";
import { codecs, decode, encode, limits, outcomeStatus } from "@everycore/protocol";
import { afterEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { LocalArgumentRemark } from "../src/files/local-arguments.ts";
import { programFiles, returnedFiles } from "../src/files/program-files.ts";
import { ReturnedFileWriter, withoutFiles } from "../src/files/returned.ts";
import { shipFiles } from "../src/files/shipped.ts";

function newFolder(files: Readonly<Record<string, string>> = {}): string {
  const folder = mkdtempSync(join(tmpdir(), "everycore-test-files-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  return folder;
}

/** What the command says on stderr meanwhile. */
function listen(): () => string {
  const write = vi.spyOn(process.stderr, "write").mockReturnValue(true);
  return () => write.mock.calls.map(([text]) => String(text)).join("");
}
afterEach(() => void vi.restoreAllMocks());

const names = (patterns: readonly string[], folder: string): string[] =>
  [...shipFiles(patterns, folder).names].toSorted();

describe("files to ship", () => {
  test("patterns, names and folders, each file once, under its name from here", () => {
    const folder = newFolder({
      "a.txt": "",
      "b.txt": "",
      "d/e/f": "",
      "d/.g": "",
      ".h": "",
      "x[1]": "",
      x1: "",
    });
    expect(names(["*.txt"], folder)).toEqual(["a.txt", "b.txt"]);
    expect(names(["d", "d/e", "./d/e/f", join(folder, "d/e/f")], folder)).toEqual(["d/.g", "d/e/f"]);
    expect(names(["**"], folder)).toEqual(["a.txt", "b.txt", "d/.g", "d/e/f", "x1", "x[1]"]);
    expect(names(["."], folder)).toContain(".h");
    expect(names(["x[1]"], folder)).toEqual(["x[1]"]);
    expect(names(["x[0-9]"], folder)).toEqual(["x1"]);
  });

  test("the digest follows names, bytes and who can be executed, and neither dates nor the order of patterns", () => {
    const digest = (folder: string, patterns = ["a", "b"]): string =>
      shipFiles(patterns, folder).bundle.digest;
    const one = newFolder({ a: "1", b: "2" });
    const other = newFolder({ b: "2", a: "1" });
    utimesSync(join(other, "a"), 1, 1);
    expect(digest(other, ["b", "a"])).toBe(digest(one));
    chmodSync(join(other, "a"), 0o755);
    expect(digest(other)).not.toBe(digest(one));
    expect([...shipFiles(["a", "b"], other).executable]).toEqual(["a"]);
    expect(digest(newFolder({ a: "1", b: "3" }))).not.toBe(digest(one));
  });

  test("the bundle has the bytes, and names who can be executed", () => {
    const folder = newFolder({ run: "#!/bin/sh\n", "d/x": "\0\u00ff" });
    chmodSync(join(folder, "run"), 0o700);
    const bundle = decode(shipFiles(["run", "d"], folder).bundle.bytes) as Record<string, unknown>;
    expect(bundle).toEqual({
      v: 1,
      files: { "d/x": Buffer.from("\0\u00ff"), run: Buffer.from("#!/bin/sh\n") },
      executable: ["run"],
    });
  });

  test("what matches nothing is refused, pattern by pattern", () => {
    const folder = newFolder({ a: "" });
    mkdirSync(join(folder, "empty"));
    expect(() => shipFiles(["a", "*.png"], folder)).toThrow(/--files "\*\.png" matches nothing/);
    expect(() => shipFiles(["empty"], folder)).toThrow(/"empty" matches only folders without files/);
    expect(() => shipFiles([""], folder)).toThrow("--files names nothing");
  });

  test("what is outside of the folder is refused, by whatever way it is named", () => {
    const outside = newFolder({ secret: "x" });
    const folder = newFolder({ a: "" });
    symlinkSync(join(outside, "secret"), join(folder, "link"));
    mkdirSync(join(folder, "d"));
    symlinkSync(outside, join(folder, "d/deep"));
    expect(() => shipFiles([join(outside, "secret")], folder)).toThrow(/is outside of/);
    expect(() => shipFiles(["../*"], join(folder, "d"))).toThrow(/is outside of/);
    expect(() => shipFiles([".."], folder)).toThrow(/is outside of/);
    expect(() => shipFiles(["link"], folder)).toThrow(/link is a link that leads out of/);
    expect(() => shipFiles(["d"], folder)).toThrow(/d\/deep is a link that leads out of/);
    expect(() => shipFiles(["d/deep/secret"], folder)).toThrow(/d\/deep\/secret is a link that leads out of/);
  });

  test("links inside are the files they lead to; circles end; what is no file is refused, and a dead link", () => {
    const folder = newFolder({ "real/a": "x" });
    symlinkSync("real", join(folder, "alias"));
    symlinkSync("..", join(folder, "real/up"));
    symlinkSync("a", join(folder, "real/b"));
    const shipped = names(["real", "alias"], folder);
    expect(shipped).toEqual(expect.arrayContaining(["real/a", "real/b", "alias/a", "alias/b"]));
    expect(shipped.length).toBeLessThan(20);
    symlinkSync("nowhere", join(folder, "dead"));
    expect(() => shipFiles(["dea*"], folder)).toThrow("--files: dead cannot be read (ENOENT)");
    expect(() => shipFiles(["null"], "/dev")).toThrow("null is neither a file nor a folder");
  });

  test("more files or bytes than a job may ship are refused by the limit's name", () => {
    const folder = newFolder();
    for (let at = 0; at <= limits.shippedFilesMax; at += 1) writeFileSync(join(folder, `f${at}`), "");
    expect(() => shipFiles(["f*"], folder)).toThrow(/more than 10000 files \(shippedFilesMax\)/);
    const large = newFolder({ sparse: "" });
    truncateSync(join(large, "sparse"), limits.bundleBytesMax + 1);
    expect(() => shipFiles(["sparse"], large)).toThrow(/\(bundleBytesMax\)/);
  });
});

describe("the flags", () => {
  test("a program by a relative path must travel, and be executable", () => {
    const folder = newFolder({ "bin/tool": "" });
    expect(() => programFiles({ output: ["*"] }, ["./bin/tool"], folder)).toThrow(/is not shipped/);
    expect(() => programFiles({ files: ["bin"] }, ["./bin/tool"], folder)).toThrow(/cannot be executed/);
    chmodSync(join(folder, "bin/tool"), 0o755);
    const files = programFiles({ files: ["bin"], output: ["*.o"] }, ["bin/../bin/tool"], folder);
    expect(files?.task).toEqual({ bundle: files?.bundle?.digest, returns: ["*.o"] });
    for (const program of ["tool", "/bin/true", "{}", "./{}"])
      expect(programFiles({ output: ["*"] }, [program], folder)?.task).toEqual({ returns: ["*"] });
    expect(programFiles({}, ["./bin/tool"], folder)).toBeUndefined();
  });

  test("what cannot be meant is refused", () => {
    const folder = newFolder();
    expect(() => programFiles({ output: ["/etc/*"] }, ["true"], folder)).toThrow(
      '--output "/etc/*" is an absolute',
    );
    const many = Array.from({ length: 101 }, (_, at) => `f${at}`);
    expect(() => programFiles({ output: many }, ["true"], folder)).toThrow(/101 patterns.*returnPatternsMax/);
    expect(() => returnedFiles({ outputDir: folder })).toThrow("only with --output");
    expect(() => returnedFiles({ output: ["*"], outputDir: folder, detach: true })).toThrow(
      "who reads the results",
    );
    writeFileSync(join(folder, "file"), "");
    expect(() => new ReturnedFileWriter(join(folder, "file"))).toThrow(/file is no folder/);
    expect(() => new ReturnedFileWriter(join(folder, "file/below"))).toThrow(/cannot be written \(ENOTDIR\)/);
    expect(returnedFiles({ output: ["*"], detach: true })).toBeUndefined();
  });
});

const value = (index: number, files: object, more: object = {}): Outcome =>
  new Outcome({
    index,
    status: outcomeStatus.value,
    codec: codecs.msgpack,
    micros: 7,
    payload: encode({ stdout: Buffer.from(`out ${index}`), files, ...more }),
    node: "n",
  });
const x = Buffer.from("x");

describe("files that come back", () => {
  test("are written below the item's index, whole, with who can be executed; the outcome is as without them", () => {
    const folder = join(newFolder(), "made/here");
    const writer = new ReturnedFileWriter(folder);
    const bytes = Buffer.from([0, 255, 13, 10]);
    const list = writer.take([
      value(0, { same: bytes, "d/e": x }),
      value(12, { same: x }, { executable: ["same"] }),
      value(13, {}),
    ]);
    expect(readFileSync(join(folder, "0/same"))).toEqual(bytes);
    expect(readFileSync(join(folder, "0/d/e"), "utf8")).toBe("x");
    expect(statSync(join(folder, "12/same")).mode & 0o111).toBe(0o111);
    expect(statSync(join(folder, "0/same")).mode & 0o111).toBe(0);
    expect(readdirSync(folder).toSorted()).toEqual(["0", "12"]);
    expect(readdirSync(join(folder, "0")).toSorted()).toEqual(["d", "same"]);
    expect(
      list.map(({ index, codec, micros, payload }) => [index, codec, micros, payload.toString()]),
    ).toEqual([
      [0, "raw", 7, "out 0"],
      [12, "raw", 7, "out 12"],
      [13, "raw", 7, "out 13"],
    ]);
    expect(writer.summary).toBe(`3 files of 2 items written: ${folder}/INDEX/NAME`);
    expect(writer.refused).toBe(0);
  });

  test("of a failed item come from its error; values of other kinds pass", () => {
    const folder = newFolder();
    const writer = new ReturnedFileWriter(folder);
    const base = { index: 3, micros: 0, node: "n" };
    const payload = encode({ kind: "exit", name: "Exit", message: "exit code 1", files: { log: x } });
    const error = new Outcome({ ...base, status: outcomeStatus.error, codec: codecs.error, payload });
    const raw = new Outcome({ ...base, status: outcomeStatus.value, codec: codecs.raw, payload: x });
    expect(writer.take([error, raw])).toEqual([error, raw]);
    expect(readFileSync(join(folder, "3/log"), "utf8")).toBe("x");
    expect(withoutFiles(raw)).toBe(raw);
    expect(withoutFiles(value(1, { a: x })).payload.toString()).toBe("out 1");
  });

  test("of a lying node are not written outside of the item's folder, and counted", () => {
    const said = listen();
    const root = newFolder();
    const folder = join(root, "out");
    const writer = new ReturnedFileWriter(folder);
    const bad = [
      "../evil",
      "/evil",
      "a/../../evil",
      "",
      ".",
      "a//b",
      "evil/",
      "nul\0l",
      "..",
      "x".repeat(300),
    ];
    writer.take([value(0, Object.fromEntries([...bad.map((name) => [name, x]), ["good", x]]) as object)]);
    expect(readdirSync(root)).toEqual(["out"]);
    expect(readdirSync(join(folder, "0"))).toEqual(["good"]);
    expect(existsSync("/evil")).toBe(false);
    expect(writer.refused).toBe(bad.length);
    expect(said()).toContain('item 0: its file "../evil" was not written: it leads out of its folder\n');
    expect(writer.summary).toMatch(/^1 file of 1 item written: .*; 10 refused$/);
  });

  test("go through no link, replace a link instead of following it, and no folder", () => {
    const said = listen();
    const outside = newFolder({ kept: "kept" });
    const folder = newFolder({ "0/folder/x": "" });
    symlinkSync(outside, join(folder, "0/way"));
    symlinkSync(join(outside, "kept"), join(folder, "0/link"));
    symlinkSync(outside, join(folder, "1"));
    const writer = new ReturnedFileWriter(folder);
    writer.take([value(0, { "way/kept": x, link: x, folder: x, a: x, "a/b": x }), value(1, { kept: x })]);
    expect(readFileSync(join(outside, "kept"), "utf8")).toBe("kept");
    expect(readFileSync(join(folder, "0/link"), "utf8")).toBe("x");
    expect(writer.refused).toBe(4);
    expect(said().match(/was not written/g)).toHaveLength(4);
  });

  test("that cannot be read are said so, and the item stays what it is", () => {
    const said = listen();
    const writer = new ReturnedFileWriter(newFolder());
    const odd = new Outcome({
      index: 5,
      micros: 0,
      node: "n",
      status: 0,
      codec: codecs.msgpack,
      payload: encode(7) as Buffer,
    });
    expect(writer.take([odd])).toEqual([odd]);
    expect(said()).toContain("item 5: its files cannot be read");
    expect(writer.refused).toBe(1);
  });

  test("that were written before are replaced; none at all is said", () => {
    const folder = newFolder({ "0/a": "old and longer" });
    const writer = new ReturnedFileWriter(folder);
    expect(writer.summary).toMatch(/^no file came back/);
    writer.take([value(0, { a: x })]);
    expect(readFileSync(join(folder, "0/a"), "utf8")).toBe("x");
  });
});

describe("the remark on files of this machine", () => {
  const folder = (): string => newFolder({ "data/a.txt": "", "my file": "" });

  test.each([
    [["cat", "data/a.txt"], "data/a.txt"],
    [["cat", "./data/a.txt"], "./data/a.txt"],
    [["tool", "--in=data/a.txt"], "data/a.txt"],
    [["data/a.txt"], "data/a.txt"],
    [["ls", "data"], "data"],
    [["cat", "my file", "data/a.txt"], "my file"],
  ])("%j names %s", (argv, name) => {
    const said = listen();
    expect(new LocalArgumentRemark({ argv, folder: folder(), shipped: new Set() })).toBeDefined();
    expect(said()).toMatch(new RegExp(`^note: ${name} is a file of this machine; .* --files [^\\n]*\\n$`));
  });

  test.each([
    [["cat", "no-such-file"]],
    [["cat", "/etc/passwd", "/dev/null", "/tmp", "/", ".", "..", ""]],
    [["/usr/bin/env", "true"]],
    [["data", "x"]],
    [["cat", "{}", "-"]],
    [["tool", "--data"]],
  ])("%j names none", (argv) => {
    const said = listen();
    expect(new LocalArgumentRemark({ argv, folder: folder(), shipped: new Set() })).toBeDefined();
    expect(said()).toBe("");
  });

  test("what is shipped is found by its name from here, and by no name from the root", () => {
    const said = listen();
    const here = folder();
    const shipped = new Set(["data/a.txt"]);
    new LocalArgumentRemark({ argv: ["ls", "data", "./data/a.txt"], folder: here, shipped });
    expect(said()).toBe("");
    const name = join(here, "data/a.txt");
    new LocalArgumentRemark({ argv: ["cat", name], folder: here, shipped });
    expect(said()).toBe(`note: ${name} is shipped, and stands on the nodes as data/a.txt\n`);
  });

  async function watched(argv: readonly string[], ...items: string[]): Promise<string> {
    const said = listen();
    const remark = new LocalArgumentRemark({ argv, folder: folder(), shipped: new Set() });
    const lists = async function* () {
      for (const item of items) yield [Buffer.from(item)];
    };
    const seen: string[] = [];
    for await (const list of remark.watch(lists())) seen.push(...list.map(String));
    expect(seen).toEqual(items);
    const text = said();
    vi.restoreAllMocks();
    return text;
  }

  test("the first item is looked at as the programs see it, and what is said is said once", async () => {
    expect(await watched(["gzip", "{}"], "data/a.txt", "my file")).toMatch(/^note: data\/a\.txt .*\n$/);
    expect(await watched(["cat", "{.}.txt"], "data/a.csv")).toMatch(/^note: data\/a\.txt /);
    expect(await watched(["cat", "my file", "{}"], "data/a.txt")).toMatch(
      /^note: my file .* --files 'my file'\n$/,
    );
    expect(await watched(["echo", "{}"], "no-such-file", "data/a.txt")).toBe("");
    expect(await watched(["cat"], "data/a.txt")).toMatch(/^note: data\/a\.txt /);
  });
});
