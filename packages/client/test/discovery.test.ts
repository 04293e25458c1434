import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { discover, loadConfig, readUpFile } from "../src/internal.ts";

async function place(): Promise<{ root: string; environment: NodeJS.ProcessEnv } & AsyncDisposable> {
  const root = await mkdtemp(join(tmpdir(), "everycore-test-discovery-"));
  await mkdir(join(root, "run", "everycore"), { recursive: true });
  await mkdir(join(root, "config", "everycore"), { recursive: true });
  const environment = {
    XDG_RUNTIME_DIR: join(root, "run"),
    XDG_CONFIG_HOME: join(root, "config"),
    HOME: root,
  };
  return { root, environment, [Symbol.asyncDispose]: () => rm(root, { recursive: true, force: true }) };
}

const secret = "0123456789abcdef";

async function writeUp(root: string, pid: number): Promise<void> {
  const up = { pid, address: "127.0.0.1:7777", secret, http: "127.0.0.1:7778", startedAt: 1 };
  await writeFile(join(root, "run", "everycore", "up.json"), JSON.stringify(up), { mode: 0o600 });
}

test("flag beats variable beats ./everycore.json beats the user's config, and each origin is known", async () => {
  await using at = await place();
  const { root } = at;
  await writeFile(
    join(root, "config", "everycore", "config.json"),
    JSON.stringify({ address: "d:1", slots: 3, dataDir: "/d" }),
  );
  await writeFile(join(root, "everycore.json"), JSON.stringify({ address: "c:1", slots: 2 }));
  const environment = { ...at.environment, EVERYCORE_ADDRESS: "b:1" };
  const config = loadConfig({ environment, cwd: root, flags: { address: "a:1" } });
  expect(config.address).toEqual({ value: "a:1", origin: "flag" });
  expect(loadConfig({ environment, cwd: root }).address).toEqual({
    value: "b:1",
    origin: "EVERYCORE_ADDRESS",
  });
  expect(config.slots).toEqual({ value: "2", origin: join(root, "everycore.json") });
  expect(config.dataDir?.value).toBe("/d");
});

test("labels may be written as a list or as their variable is; another list, or anything else, is an error", async () => {
  await using at = await place();
  const { root, environment } = at;
  const read = async (fields: object): Promise<string | undefined> => {
    await writeFile(join(root, "everycore.json"), JSON.stringify(fields));
    return loadConfig({ environment, cwd: root }).labels?.value;
  };
  expect(await read({ labels: ["gpu=a100", "zone=eu"] })).toBe("gpu=a100,zone=eu");
  expect(await read({ labels: "gpu=a100" })).toBe("gpu=a100");
  await expect(read({ labels: [1] })).rejects.toThrow('has no text or list of texts as "labels"');
  await expect(read({ labels: { gpu: "a100" } })).rejects.toThrow('has no text or list of texts as "labels"');
  await expect(read({ slots: ["2"] })).rejects.toThrow('has no text or number as "slots"');
  await read({ labels: [] });
  const variable = loadConfig({ cwd: root, environment: { ...environment, EVERYCORE_LABELS: "zone=us" } });
  expect(variable.labels).toEqual({ value: "zone=us", origin: "EVERYCORE_LABELS" });
});

test("an unknown key of a configuration is an error that names the nearest known one", async () => {
  await using at = await place();
  await writeFile(join(at.root, "everycore.json"), JSON.stringify({ adress: "c:1" }));
  expect(() => loadConfig({ environment: at.environment, cwd: at.root })).toThrow('unknown key "adress"');
  await writeFile(join(at.root, "everycore.json"), "{");
  expect(() => loadConfig({ environment: at.environment, cwd: at.root })).toThrow("is not JSON");
});

test("an address goes before a running up, which goes before none", async () => {
  await using at = await place();
  const { root, environment } = at;
  expect(discover({}, environment)).toEqual({ kind: "none" });
  await writeUp(root, process.pid);
  expect(discover({}, environment)).toMatchObject({ kind: "up", address: "127.0.0.1:7777", secret });
  const config = {
    address: { value: "h:1", origin: "flag" },
    secret: { value: "s".repeat(16), origin: "EVERYCORE_SECRET" },
  };
  expect(discover(config, environment)).toMatchObject({ kind: "configured", address: "h:1", origin: "flag" });
});

test("an up.json of a dead process, or that others can read, is not used", async () => {
  await using at = await place();
  await writeUp(at.root, 2 ** 22 + 1);
  expect(readUpFile(at.environment)).toBeUndefined();
  await writeUp(at.root, process.pid);
  await chmod(join(at.root, "run", "everycore", "up.json"), 0o644);
  expect(readUpFile(at.environment)).toBeUndefined();
});

test("a secret that others can read is refused, and so is none", async () => {
  await using at = await place();
  const file = join(at.root, "secret");
  await writeFile(file, `${secret}\n`, { mode: 0o600 });
  const config = { address: { value: "h:1", origin: "flag" }, secretFile: { value: file, origin: "flag" } };
  expect(discover(config, at.environment)).toMatchObject({ secret });
  await chmod(file, 0o640);
  expect(() => discover(config, at.environment)).toThrow("can be read by others");
  expect(() => discover({ address: config.address }, at.environment)).toThrow("no secret");
  const several = { ...config, address: { value: "h:1, i:2", origin: "flag" } };
  await chmod(file, 0o600);
  expect(discover(several, at.environment)).toMatchObject({ address: "h:1,i:2" });
  expect(() => discover({ ...several, address: { value: "h:1,i", origin: "flag" } }, at.environment)).toThrow(
    '"i" is not an address',
  );
  await rm(file);
  expect(() => discover(config, at.environment)).toThrow("cannot be read (ENOENT)");
  expect(() => discover({ ...config, address: { value: "h", origin: "flag" } }, at.environment)).toThrow(
    '"h" is not an address',
  );
});
