// Makes a fresh clone ready: dependencies, Node 24, a Python environment, nats-server. It runs before every npm
// script that needs them (pretest, predemo, ...), so that `npm test` works as the very first command.
// Plain JavaScript without dependencies: it runs on Node 20 and later, before anything is installed.
//
//   node scripts/setup.mjs          everything
//   node scripts/setup.mjs node     only dependencies and Node, for scripts that start no cluster
//
// S1  With nothing to do it reads a few small files and says nothing (it runs before each command).
// S2  What was done is recorded only after it was done, so a run that was cut short is simply repeated.
// S3  Two at once take turns; the second one finds the work done.

import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { findBundledNode, isRecentNode, nodeMissingMessage } from "../packages/cli/bin/bundled-node.js";
import { withProcessLock } from "../packages/cli/bin/process-lock.js";

const root = fileURLToPath(new URL("..", import.meta.url));
const lockfile = join(root, "package-lock.json");
const requirements = join(root, "python", "requirements-dev.txt");
const venv = join(root, ".venv");
const stampFile = join(root, "node_modules", ".everycore-setup.json");
const isCi = process.env.CI === "true";
const onlyNode = process.argv[2] === "node";
const askedByName = process.env.npm_lifecycle_event === "setup";

/** What is in place. `python` is the digest of the requirements installed, or tried in vain. */
/** @typedef {{ lock?: string, python?: string, natsServer?: { path: string, key: string } }} Stamp */

class SetupError extends Error {}

/** @typedef {{ title: string, isDone: () => boolean, perform: () => void | Promise<void> }} Step */

/** @type {Step[]} */
const steps = [
  { title: "dependencies", isDone: dependenciesDone, perform: installDependencies },
  ...(onlyNode
    ? []
    : [
        { title: "python", isDone: pythonDone, perform: installPython },
        { title: "nats-server", isDone: natsServerDone, perform: findNatsServer },
      ]),
];

try {
  if (steps.some((step) => !step.isDone())) {
    const onWait = (/** @type {string} */ holder) => say(`waiting for ${holder}, which is setting up`);
    await withProcessLock({ path: join(root, ".setup.lock"), onWait }, performMissing);
  }
  if (runnableNode() === undefined) throw new SetupError(nodeMissingMessage());
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  process.stderr.write(`setup: ${error.message}\n`);
  process.exitCode = 1;
}

async function performMissing() {
  for (const step of steps) {
    if (step.isDone()) continue; // S3
    const beginMs = performance.now();
    await step.perform();
    say(`${step.title} ready after ${((performance.now() - beginMs) / 1000).toFixed(1)} s`);
  }
}

// ---------------------------------------------------------------- dependencies

function dependenciesDone() {
  return existsSync(join(root, "node_modules")) && readStamp().lock === digestOf(lockfile);
}

async function installDependencies() {
  if (!isInstalledAsLocked() || runnableNode() === undefined) {
    say("npm ci");
    await runNpm(["ci", "--loglevel=error"]);
  }
  const node = runnableNode();
  if (node === undefined) throw new SetupError(nodeMissingMessage());
  const answer = spawnSync(node, ["--version"], { encoding: "utf8" });
  if (answer.status !== 0) {
    throw new SetupError(
      `${node} does not run on this machine (it needs glibc): put Node 24 or later on PATH.`,
    );
  }
  writeStamp({ ...readStamp(), lock: digestOf(lockfile) }); // S2
}

/**
 * Whether node_modules already holds exactly what the lockfile says, which is so after `npm run npm -- install`.
 * npm keeps its own record of what it installed; a needless `npm ci` would delete node_modules under the feet of
 * whatever else runs in this checkout.
 */
function isInstalledAsLocked() {
  const installed = readJson(join(root, "node_modules", ".package-lock.json"))?.packages;
  const locked = readJson(lockfile)?.packages;
  if (!installed || !locked) return false;
  return Object.entries(locked).every(([path, entry]) => {
    if (path === "" || !path.startsWith("node_modules/")) return true;
    const found = installed[path];
    if (found === undefined) return entry.optional === true; // another platform's
    return found.version === entry.version && found.integrity === entry.integrity;
  });
}

/**
 * npm replaces node_modules and with it the Node in there; so it must run by another one, found on PATH behind the
 * folders that `npm run` has put in front.
 * @param {string[]} args
 */
async function runNpm(args) {
  const folders = (process.env.PATH ?? "")
    .split(delimiter)
    .filter((folder) => !folder.includes("node_modules"));
  /** @type {NodeJS.ProcessEnv} */
  const env = { ...process.env, PATH: folders.join(delimiter) };
  for (const key of Object.keys(env)) {
    if (/^npm_config_(workspaces?|prefix|include_workspace_root)$/i.test(key)) delete env[key];
  }
  await run("npm", args, env);
}

/** The Node that the scripts after this one get from npm, which puts node_modules/.bin first. */
function runnableNode() {
  return findBundledNode(root) ?? (isRecentNode() ? process.execPath : undefined);
}

// ---------------------------------------------------------------- python

function pythonDone() {
  if (!existsSync(requirements)) return true;
  return readStamp().python === digestOf(requirements) && !askedByName;
}

/** Python is a guest in this repository: without it the TypeScript side still works, so only CI insists. */
async function installPython() {
  try {
    const python = findPython();
    if (python === undefined) throw new SetupError("no Python 3.10 or later");
    if (!existsSync(join(venv, "bin", "python"))) {
      await run(python, ["-m", "venv", venv]);
    }
    const pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements];
    await run(join(venv, "bin", "python"), pip);
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    rmSync(venv, { recursive: true, force: true });
    if (isCi) throw error;
    say(`Python is left out (${error.message}); "npm run setup" tries again`);
  }
  writeStamp({ ...readStamp(), python: digestOf(requirements) });
}

function findPython() {
  const names = ["python3.13", "python3.12", "python3.11", "python3.10", "python3", "python"];
  const check = "import sys; sys.exit(sys.version_info < (3, 10))";
  return names.find((name) => spawnSync(name, ["-c", check], { stdio: "ignore" }).status === 0);
}

// ---------------------------------------------------------------- nats-server

/** What decides the choice, and the file as it was then: a changed one is looked at anew. */
function natsServerDone() {
  const { natsServer } = readStamp();
  return natsServer !== undefined && natsServer.key === keyOf(natsServer.path);
}

/** @param {string} path */
function keyOf(path) {
  if (!existsSync(path)) return undefined;
  const { size, mtimeMs } = statSync(path);
  return [process.env.EVERYCORE_NATS_SERVER ?? "", process.env.XDG_CACHE_HOME ?? "", size, mtimeMs].join("|");
}

async function findNatsServer() {
  const script = join(root, "scripts", "nats-server.ts");
  const path = (await run(/** @type {string} */ (runnableNode()), [script])).trim();
  const key = keyOf(path);
  if (key === undefined) throw new SetupError(`nats-server was reported at "${path}", but is not there`);
  writeStamp({ ...readStamp(), natsServer: { path, key } });
}

// ---------------------------------------------------------------- small things

/**
 * Resolves to stdout; what the command says on stderr is shown as it comes.
 * @param {string} command
 * @param {string[]} args
 * @param {NodeJS.ProcessEnv} env
 * @returns {Promise<string>}
 */
function run(command, args, env = process.env) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, env, stdio: ["ignore", "pipe", "inherit"] });
    let stdout = "";
    child.stdout.on("data", (chunk) => (stdout += chunk));
    child.on("error", (error) => reject(new SetupError(`cannot start ${command}: ${error.message}`)));
    child.on("close", (code) => {
      if (code === 0) return resolve(stdout);
      process.stderr.write(stdout);
      reject(new SetupError(`"${[command, ...args].join(" ")}" ended with ${code}`));
    });
  });
}

/** @param {string} path */
function digestOf(path) {
  return createHash("sha256").update(readFileSync(path)).digest("hex");
}

/** @param {string} path @returns {any} undefined when it is missing or cut off */
function readJson(path) {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch {
    return undefined;
  }
}

/** @returns {Stamp} */
function readStamp() {
  return readJson(stampFile) ?? {};
}

/** @param {Stamp} stamp */
function writeStamp(stamp) {
  mkdirSync(join(root, "node_modules"), { recursive: true });
  writeFileSync(stampFile, `${JSON.stringify(stamp)}\n`);
}

/** @param {string} line */
function say(line) {
  process.stderr.write(`setup: ${line}\n`);
}
