/**
 * Starts a role's program with its configuration from the environment: argv can be read by every user of the machine
 * (ps), and the configuration holds the cluster's secret (P8). The program finds it in argv[2], as it expects.
 */
import { pathToFileURL } from "node:url";

/** Variable that carries the configuration; only this user can read a process's environment. */
const variable = "EVERYCORE_ROLE_CONFIG";

const main = process.argv[2];
const config = process.env[variable];
if (main === undefined || config === undefined) throw new Error(`role.ts needs a program and ${variable}`);
delete process.env[variable]; // so that no worker inherits it
process.argv = [process.argv[0]!, main, config];
await import(pathToFileURL(main).href);
