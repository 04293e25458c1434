// Debian's package of nats-server, from the unstable suite, through an apt root of our own: the machine's sources
// and its installed packages stay as they are, no root is needed, and apt checks Debian's signatures as always.
// The binary is plain Go and needs only libc >= 2.34, so it runs on older Debian releases too.

import { existsSync } from "node:fs";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { findOnPath } from "./installed.ts";
import { type Route, type RouteContext, type RouteOutcome, unavailable } from "./routes.ts";
import { run } from "./run.ts";

const SUITE = "sid";
const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";
const QUERY_TIMEOUT_MS = 10_000;
const UPDATE_TIMEOUT_MS = 120_000;
const DOWNLOAD_TIMEOUT_MS = 120_000;

export const debianRoute: Route = {
  source: "debian",
  title: `Debian package (${SUITE})`,
  inspect: async (context) => {
    const { source, title } = debianRoute;
    const obstacle = obstacleOf(context);
    if (obstacle !== undefined) return { source, title, state: "unavailable", detail: obstacle };
    const mirror = await findMirror(context);
    if (mirror === undefined)
      return { source, title, state: "unavailable", detail: "apt knows no Debian mirror" };
    return { source, title, state: "possible", detail: `nats-server from ${mirror} ${SUITE}` };
  },
  provide: provideDebian,
};

async function provideDebian(context: RouteContext): Promise<RouteOutcome> {
  const obstacle = obstacleOf(context);
  if (obstacle !== undefined) return unavailable(obstacle);
  const mirror = await findMirror(context);
  if (mirror === undefined) return unavailable("apt knows no Debian mirror");

  const root = join(context.scratch, "apt");
  await makeAptRoot({ root, mirror, proxies: await findProxies(context) });
  const environment = { ...context.environment, APT_CONFIG: join(root, "apt.conf") };
  const apt = (args: string[], timeoutMs: number) =>
    run("apt-get", args, { timeoutMs, cwd: root, environment, signal: context.signal });
  await apt(["update", "-qq"], UPDATE_TIMEOUT_MS);
  await apt(["download", "-qq", "nats-server"], DOWNLOAD_TIMEOUT_MS);
  const archive = (await readdir(root)).find((name) => name.endsWith(".deb"));
  if (archive === undefined) return unavailable("apt-get download left no file");

  const unpacked = join(root, "unpacked");
  await run("dpkg-deb", ["-x", join(root, archive), unpacked], {
    timeoutMs: DOWNLOAD_TIMEOUT_MS,
    signal: context.signal,
  });
  const path = ["usr/bin", "usr/sbin"]
    .map((folder) => join(unpacked, folder, "nats-server"))
    .find((candidate) => existsSync(candidate));
  return path === undefined ? unavailable(`${archive} holds no nats-server`) : { kind: "made", path };
}

function obstacleOf({ environment }: RouteContext): string | undefined {
  const missing = ["apt-get", "dpkg-deb"].find((command) => findOnPath(command, environment) === undefined);
  if (missing !== undefined) return `${missing} is not on this machine`;
  return existsSync(KEYRING) ? undefined : `${KEYRING} is missing: this is no Debian`;
}

/** The mirror that this machine's own sources name; a fixed one would be wrong behind a company's proxy. */
async function findMirror(context: RouteContext): Promise<string | undefined> {
  const options = { timeoutMs: QUERY_TIMEOUT_MS, environment: context.environment, signal: context.signal };
  try {
    const args = ["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"];
    const mirrors = (await run("apt-get", args, options)).split("\n");
    return mirrors.find((line) => line.endsWith("/debian/"));
  } catch {
    context.signal?.throwIfAborted();
    return undefined;
  }
}

/** A private root hides /etc/apt, and with it the proxy that an administrator has set there. */
async function findProxies(context: RouteContext): Promise<string[]> {
  const options = { timeoutMs: QUERY_TIMEOUT_MS, environment: context.environment, signal: context.signal };
  try {
    const dump = await run("apt-config", ["dump"], options);
    return dump.split("\n").filter((line) => /^Acquire::https?::/.test(line));
  } catch {
    context.signal?.throwIfAborted();
    return [];
  }
}

async function makeAptRoot(options: { root: string; mirror: string; proxies: string[] }): Promise<void> {
  const { root, mirror, proxies } = options;
  const folders = [
    "state/lists/partial",
    "cache/archives/partial",
    "etc/apt.conf.d",
    "etc/preferences.d",
    "etc/trusted.gpg.d",
  ];
  for (const folder of folders) await mkdir(join(root, folder), { recursive: true });
  await writeFile(join(root, "status"), "");
  await writeFile(join(root, "etc/sources.list"), `deb [signed-by=${KEYRING}] ${mirror} ${SUITE} main\n`);
  const settings = [
    `Dir::State "${root}/state";`,
    `Dir::State::status "${root}/status";`,
    `Dir::Cache "${root}/cache";`,
    `Dir::Etc "${root}/etc";`,
    `Dir::Etc::sourcelist "${root}/etc/sources.list";`,
    `Dir::Etc::sourceparts "/nonexistent";`,
    // apt would drop to its own user, who cannot write here; as an ordinary user it changes nothing
    `APT::Sandbox::User "root";`,
    // a mirror that is days old will do; its signature is still checked
    `Acquire::Check-Valid-Until "false";`,
    ...proxies,
  ];
  await writeFile(join(root, "apt.conf"), `${settings.join("\n")}\n`);
}
