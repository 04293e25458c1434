/** Both hosts of programs: what becomes of arguments, exits, signals, floods of output and missing programs. */
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { codecs, limits, packEntries } from "@everycore/protocol";
import { describe, expect, test } from "vitest";
import { errorOf, newFolder, startHost } from "./host.ts";

const lines = (...texts: string[]) => ({
  codec: codecs.utf8,
  block: packEntries(texts.map((text) => Buffer.from(text))),
});

describe.each(["node", "python"] as const)("the host in %s", (execHost) => {
  async function loaded(argv: readonly string[], more: object = {}) {
    const host = await startHost("exec", { execHost });
    expect(await host.load({ argv, ...more })).toEqual({ t: "loaded" });
    return host;
  }

  test("stdout is the value, a bad exit is an error that keeps what was printed", async () => {
    const host = await loaded(["sh", "-c", 'echo "$0"; echo why >&2; test "$0" != b', "{}"]);
    const [good, bad] = await host.run(1, 0, 2, lines("a", "b"));
    expect(good).toMatchObject({ status: 0, codec: codecs.raw, payload: Buffer.from("a\n") });
    expect(errorOf(bad!)).toMatchObject({ kind: "exit", exitCode: 1, stderrTail: "why\n" });
    expect(Buffer.from(errorOf(bad!).stdout!).toString()).toBe("b\n");
    expect((await host.stop())[0]).toBe(0);
    expect(await host.stderr).toBe("why\nwhy\n");
  });

  test("placeholders are the item, its name, its stem and its number, anywhere in an argument", async () => {
    const host = await loaded(["printf", "%s|", "<{}>", "{/}", "{.}.png", "n{#}", "{}{}"]);
    const [record] = await host.run(1, 6, 7, lines("/pics.d/cat one.jpg"));
    const item = "/pics.d/cat one.jpg";
    expect(record!.payload.toString()).toBe(`<${item}>|cat one.jpg|/pics.d/cat one.png|n7|${item}${item}|`);
  });

  test("nothing of an item is read by a shell; without placeholders it is the last argument", async () => {
    const host = await loaded(["printf", "%s|", "first"]);
    const texts = ["$(id); `id` 'a\" *", "{}", ""];
    const records = await host.run(1, 0, 3, lines(...texts));
    expect(records.map(({ payload }) => payload.toString())).toEqual(texts.map((text) => `first|${text}|`));
  });

  test("death by a signal is the item's error, and the worker lives (no strike)", async () => {
    const host = await loaded(["sh", "-c", 'test "$0" = b && kill -SEGV $$; echo "$0"', "{}"]);
    const records = await host.run(1, 0, 3, lines("a", "b", "c"));
    expect(records.map(({ status }) => status)).toEqual([0, 1, 0]);
    expect(errorOf(records[1]!)).toMatchObject({ kind: "signal", signal: "SIGSEGV" });
  });

  test("output over the limit is an error, at the limit a value", async () => {
    const host = await loaded(["head", "-c", "{}", "/dev/zero"]);
    const max = limits.execOutputBytesMax;
    const [most, more] = await host.run(1, 0, 2, lines(String(max), String(max + 1)));
    expect([most!.status, most!.payload.length]).toEqual([0, max]);
    expect(errorOf(more!)).toMatchObject({ kind: "output-too-large" });
  });

  test("a program that is nowhere fails the task once", async () => {
    const host = await startHost("exec", { execHost });
    const answer = await host.load({ argv: ["no-such-program", "{}"] });
    expect(answer["t"]).toBe("initFailed");
    expect(errorOf(answer).message).toContain("no-such-program");
    expect((await host.stop())[0]).toBe(0);
  });

  test("a program named by the item that is nowhere is that item's error", async () => {
    const host = await loaded(["{}"]);
    const records = await host.run(1, 0, 2, lines("no-such-program", "true"));
    expect(records.map(({ status }) => status)).toEqual([1, 0]);
    expect(errorOf(records[0]!).message).toContain("no-such-program");
  });

  test("it runs where and with what the job says, else in its scratch folder with next to nothing", async () => {
    const say = ["sh", "-c", 'pwd; echo "$WHO:$NODE_COMPILE_CACHE:$EVERYCORE_WORKER"', "{}"];
    const cwd = newFolder();
    const given = await loaded(say, { cwd, env: { PATH: process.env["PATH"], WHO: "me" } });
    expect((await given.run(1, 0, 1))[0]!.payload.toString()).toBe(`${cwd}\nme::1\n`);
    const bare = await loaded(say);
    expect((await bare.run(1, 0, 1))[0]!.payload.toString()).toBe(`${join(bare.dir, "scratch")}\n::1\n`);
  });

  test("files that a program writes stay in the scratch folder", async () => {
    const host = await loaded(["sh", "-c", 'echo "$0" > "made-$0"', "{}"]);
    await host.run(1, 0, 2, lines("a", "b"));
    expect(readdirSync(join(host.dir, "scratch")).toSorted()).toEqual(["made-a", "made-b"]);
  });

  test("a script without #! runs as in a shell; a file that is not executable is refused", async () => {
    const dir = newFolder();
    writeFileSync(join(dir, "script"), 'echo "script $1"\n', { mode: 0o700 });
    writeFileSync(join(dir, "plain"), "text", { mode: 0o600 });
    const host = await loaded([join(dir, "script")]);
    expect((await host.run(1, 0, 1, lines("a")))[0]!.payload.toString()).toBe("script a\n");
    const refused = await startHost("exec", { execHost });
    expect((await refused.load({ argv: [join(dir, "plain")] }))["t"]).toBe("initFailed");
  });
});
