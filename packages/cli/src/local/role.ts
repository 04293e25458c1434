/**
 * Starts a role's program with its configuration from the environment: argv can be read by every user of the machine
 * (ps), and the configuration holds the cluster's secret (P8). The program finds it in argv[2], as it expects.
 */
import { flushCompileCache } from "node:module";
import { pathToFileURL } from "node:url";
import { countBuffersAsHeap } from "../external-memory.ts";

/** Variable that carries the configuration; only this user can read a process's environment. */
const variable = "EVERYCORE_ROLE_CONFIG";

const keepCompiledAfterMs = 1_500;

countBuffersAsHeap();
const main = process.argv[2];
const config = process.env[variable];
if (main === undefined || config === undefined) throw new Error(`role.ts needs a program and ${variable}`);
delete process.env[variable]; // so that no worker inherits it
delete process.env["NODE_COMPILE_CACHE"]; // Node has read it; tasks get the environment that they would have without us
process.argv = [process.argv[0]!, main, config];
await import(pathToFileURL(main).href);
// Roles are killed as often as they end: the compiled code is kept once it is all loaded.
setTimeout(flushCompileCache, keepCompiledAfterMs).unref();
