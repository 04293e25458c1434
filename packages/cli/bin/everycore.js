#!/usr/bin/env node
// The launcher: plain JavaScript that any Node from 20 on can read. It finds a Node that can run the rest and
// becomes it, as nearly as the running Node allows:
//
//   this Node is 24 or later   the command is imported, there is no second process
//   Node has process.execve    this process is replaced
//   older                      a child with our terminal; signals are passed on, its end becomes ours
//
// No dependency may be imported here: what is said when they are missing is part of the job.

import { spawn } from "node:child_process";
import { existsSync, readFileSync, realpathSync } from "node:fs";
import * as nodeModule from "node:module";
import { constants } from "node:os";
import { dirname, join, sep } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { compiledFolder } from "./compile-cache.js";
import { findBundledNode, isRecentNode, nodeMissingMessage } from "./bundled-node.js";

const packageDirectory = dirname(dirname(realpathSync(fileURLToPath(import.meta.url))));

await start();

async function start() {
  const main = findMain();
  if (main === undefined)
    return fail(
      `there is no src/main.ts and no dist/main.js in ${packageDirectory}: install everycore again.`,
    );
  if (!hasDependencies())
    return fail(`its dependencies are not installed: run "npm ci" in ${workspaceRoot()}.`);
  if (isRecentNode()) {
    process.argv[1] = main;
    nodeModule.enableCompileCache?.(compiledFolder());
    await import(pathToFileURL(main).href);
    return;
  }
  const node = findBundledNode(packageDirectory);
  if (node === undefined) return fail(nodeMissingMessage());
  become(node, [main, ...process.argv.slice(2)]);
}

/** A checkout runs its sources; a published package has none, and Node strips no types under node_modules. */
function findMain() {
  const source = join(packageDirectory, "src", "main.ts");
  const built = join(packageDirectory, "dist", "main.js");
  const isInstalled = packageDirectory.includes(`${sep}node_modules${sep}`);
  const candidates = isInstalled ? [built] : [source, built];
  return candidates.find((path) => existsSync(path));
}

function hasDependencies() {
  for (let at = packageDirectory; ; at = dirname(at)) {
    if (existsSync(join(at, "node_modules", "commander"))) return true;
    if (at === dirname(at)) return false;
  }
}

function workspaceRoot() {
  const root = dirname(dirname(packageDirectory));
  return existsSync(join(root, "package-lock.json")) ? root : packageDirectory;
}

/** @param {string} node @param {string[]} args */
function become(node, args) {
  const cache = compiledFolder();
  // Read by Node at its start; main.ts takes it out of the environment again.
  const env = cache === undefined ? process.env : { ...process.env, NODE_COMPILE_CACHE: cache };
  if (typeof process.execve === "function" && process.platform !== "win32") {
    process.removeAllListeners("warning"); // execve is marked experimental; users need not read that
    process.execve(node, [node, ...args], env);
  }
  const child = spawn(node, args, { stdio: "inherit", env });
  child.on("error", (error) => fail(`cannot start ${node}: ${error.message}`));
  for (const signal of /** @type {const} */ (["SIGINT", "SIGQUIT", "SIGTERM", "SIGHUP", "SIGUSR2"])) {
    process.on(signal, () => {
      if (!reachedWholeGroup(signal)) child.kill(signal);
    });
  }
  child.on("exit", (code, signal) => {
    if (signal === null) process.exit(code ?? 1);
    process.removeAllListeners(signal);
    process.kill(process.pid, signal); // so that a shell sees what ended the command
    setTimeout(() => process.exit(128 + constants.signals[signal]), 100); // Node ignores a few signals
  });
}

/**
 * Ctrl-C, Ctrl-\ and a hang-up come from the terminal to every process of its foreground group, so the child has
 * them already; passed on, one Ctrl-C would count as two, and the second one means "leave now".
 * @param {NodeJS.Signals} signal
 */
function reachedWholeGroup(signal) {
  return (signal === "SIGINT" || signal === "SIGQUIT" || signal === "SIGHUP") && isForeground();
}

function isForeground() {
  try {
    // after the command's name, which may hold blanks: state ppid pgrp session tty_nr tpgid
    const stat = readFileSync("/proc/self/stat", "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[4] !== "0" && fields[2] === fields[5];
  } catch {
    return process.stdin.isTTY || process.stderr.isTTY; // no /proc: macOS
  }
}

/** @param {string} sentence */
function fail(sentence) {
  process.stderr.write(`everycore: ${sentence}\n`);
  process.exitCode = 4;
}
