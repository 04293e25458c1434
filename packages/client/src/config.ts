/**
 * Settings and where each comes from: a flag, an EVERYCORE_* variable, ./everycore.json, the user's config.json, or
 * the default, in this order. An unknown key is an error that names the nearest known one: a misspelled setting that
 * silently does nothing is the worst kind.
 */
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { EverycoreError } from "@everycore/protocol";
import { nearest } from "./nearest.ts";

/** Each setting: its variable, and what it is for. */
export const settings = {
  address: { variable: "EVERYCORE_ADDRESS", about: "HOST:PORT of a coordinator, or of several, with commas" },
  secret: { variable: "EVERYCORE_SECRET", about: "the cluster's secret itself" },
  secretFile: { variable: "EVERYCORE_SECRET_FILE", about: "file that holds the cluster's secret" },
  slots: { variable: "EVERYCORE_SLOTS", about: "workers at once on this machine" },
  dataDir: {
    variable: "EVERYCORE_DATA",
    about: "folder in which up, coordinator and agent keep their folders",
  },
  labels: {
    variable: "EVERYCORE_LABELS",
    about: "labels of the nodes of this machine: gpu=a100,zone=eu",
    isList: true,
  },
  logLevel: { variable: "EVERYCORE_LOG_LEVEL", about: "trace, debug, info, warn, error or silent" },
  python: { variable: "EVERYCORE_PYTHON", about: "version of Python that .py tasks ask for, such as 3.11" },
  nats: { variable: "EVERYCORE_NATS", about: "URLs of the NATS servers to use", isList: true },
  replicas: { variable: "EVERYCORE_REPLICAS", about: "nats-servers that keep each record: 1, 3 or 5" },
} as const;

export type SettingName = keyof typeof settings;
export type Settings = Partial<Record<SettingName, string>>;
export const settingNames = Object.keys(settings) as SettingName[];

export interface Origin {
  readonly value: string;
  /** `flag`, the variable's name, or the file. */
  readonly origin: string;
}

export type Config = Partial<Record<SettingName, Origin>>;

export interface ConfigSources {
  readonly flags?: Settings;
  readonly environment?: NodeJS.ProcessEnv;
  readonly cwd?: string;
}

/** The configuration files, the first one wins. */
export function configFiles(sources: ConfigSources = {}): string[] {
  const { environment = process.env, cwd = process.cwd() } = sources;
  const home = environment["XDG_CONFIG_HOME"] || join(environment["HOME"] || homedir(), ".config");
  return [join(cwd, "everycore.json"), join(home, "everycore", "config.json")];
}

export function loadConfig(sources: ConfigSources = {}): Config {
  const { flags = {}, environment = process.env } = sources;
  const config: Config = {};
  for (const file of configFiles(sources).toReversed()) {
    for (const [name, value] of Object.entries(readConfigFile(file))) {
      config[name as SettingName] = { value: value!, origin: file };
    }
  }
  for (const name of settingNames) {
    const { variable } = settings[name];
    const value = environment[variable];
    if (value !== undefined && value !== "") config[name] = { value, origin: variable };
    const flag = flags[name];
    if (flag !== undefined) config[name] = { value: flag, origin: "flag" };
  }
  return config;
}

function readConfigFile(file: string): Settings {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (code === "ENOENT" || code === "ENOTDIR") return {};
    throw new EverycoreError("bad-input", `the configuration ${file} cannot be read (${String(code)})`, {
      cause: error,
    });
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw new EverycoreError(
      "bad-input",
      `the configuration ${file} is not JSON: ${(error as Error).message}`,
      { cause: error },
    );
  }
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) {
    throw new EverycoreError("bad-input", `the configuration ${file} is not a JSON object`);
  }
  const found: Settings = {};
  for (const [key, value] of Object.entries(parsed)) {
    if (!Object.hasOwn(settings, key)) throw unknownKey(file, key);
    found[key as SettingName] = settingText(file, key as SettingName, value);
  }
  return found;
}

/** A list may be written as one, or as its variable would be. */
function settingText(file: string, name: SettingName, value: unknown): string {
  const isList = "isList" in settings[name];
  if (isList && Array.isArray(value) && value.every((one) => typeof one === "string")) return value.join(",");
  if (typeof value === "string" || typeof value === "number") return String(value);
  const wanted = isList ? "text or list of texts" : "text or number";
  throw new EverycoreError("bad-input", `the configuration ${file} has no ${wanted} as "${name}"`);
}

function unknownKey(file: string, key: string): EverycoreError {
  const meant = nearest(key, settingNames);
  const hint = meant === undefined ? `known are ${settingNames.join(", ")}` : `did you mean "${meant}"?`;
  return new EverycoreError("bad-input", `the configuration ${file} has an unknown key "${key}"`, { hint });
}
