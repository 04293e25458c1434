// House rules that no linter knows. scripts/tidy.test.ts runs them over the repository, and each of them over a
// bad example, so that a rule that stopped working is noticed.
//
// Words that a rule forbids are put together from halves here: the rules hold for this file too.

import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, statSync } from "node:fs";
import { dirname, extname, join, normalize, resolve } from "node:path";

export interface SourceFile {
  /** Relative to the repository, with slashes. */
  readonly path: string;
  readonly content: string;
}

/** One finding: where, and what to do about it. */
export interface Finding {
  readonly path: string;
  readonly line: number;
  readonly message: string;
}

const CODE_LINES_MAX = 400;
const CODE_EXTENSIONS = new Set([".ts", ".js", ".mjs", ".py", ".sh", ".proto", ".css", ".html"]);
const BINARY_EXTENSIONS = new Set([
  ".png",
  ".jpg",
  ".gif",
  ".ico",
  ".woff2",
  ".msgpack",
  ".bin",
  ".gz",
  ".pkl",
]);

/** Files that tools write and people do not edit. */
const GENERATED = /(^|\/)(gen|dist)\/|(^|\/)package-lock\.json$|^LICENSE$/;

/** What git has, or would take with the next `git add`. */
export function readRepository(root: string): SourceFile[] {
  const list = execFileSync("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"], {
    cwd: root,
    encoding: "utf8",
    maxBuffer: 16 * 1024 * 1024,
  });
  return [...new Set(list.split("\0"))]
    .filter((path) => path !== "" && !BINARY_EXTENSIONS.has(extname(path)))
    .filter((path) => existsSync(join(root, path)) && statSync(join(root, path)).isFile())
    .map((path) => ({ path, content: readFileSync(join(root, path), "utf8") }));
}

export function findUnfinishedWork({ path, content }: SourceFile): Finding[] {
  const words = new RegExp(`\\b(${["TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK"].join("|")})\\b`);
  if (GENERATED.test(path)) return [];
  return matchingLines(content, words).map((line) => ({
    path,
    line,
    message: "unfinished work is an issue, not a comment",
  }));
}

/** Names of places that only this or that machine has: they would make a clone fail elsewhere. */
export function findMachineNames({ path, content }: SourceFile): Finding[] {
  const hosts = [
    "registry\\.[a-z0-9-]+\\.[a-z]+",
    "pypi\\." + "org",
    "pythonhosted\\." + "org",
    "proxy\\.golang\\." + "org",
    "(deb|security)\\.debian\\." + "org",
    "archive\\.ubuntu\\." + "com",
  ];
  const folders = ["/wo" + "rk/", "/ro" + "ot/"].map((folder) => `(^|[\\s"'\`=:(])${folder}`);
  const names = new RegExp([...hosts, ...folders].join("|"));
  if (path === "LICENSE") return [];
  return matchingLines(content, names).map((line) => ({
    path,
    line,
    message: "names a registry host or a folder of one machine",
  }));
}

export function findVagueNames({ path }: SourceFile): Finding[] {
  const vague = /(^|\/)(utils?|helpers?|common|misc|managers?)(\/|\.[a-z]+$)/;
  return vague.test(path) ? [{ path, line: 1, message: "name the subject: this name fits anything" }] : [];
}

export function findLongFiles({ path, content }: SourceFile): Finding[] {
  if (!CODE_EXTENSIONS.has(extname(path)) || GENERATED.test(path)) return [];
  const count = content.split("\n").filter((line) => !/^\s*(\/\/|\/\*|\*|#|$)/.test(line)).length;
  if (count <= CODE_LINES_MAX) return [];
  return [
    { path, line: 1, message: `${count} lines of code, more than ${CODE_LINES_MAX}: split it by subject` },
  ];
}

/** Relative links of Markdown files; what stands in code blocks is no link. */
export function findDeadLinks({ path, content }: SourceFile, root: string): Finding[] {
  if (!path.endsWith(".md")) return [];
  const findings: Finding[] = [];
  let isInCode = false;
  for (const [index, text] of content.split("\n").entries()) {
    if (/^\s*(```|~~~)/.test(text)) isInCode = !isInCode;
    if (isInCode) continue;
    for (const target of linkTargets(text.replaceAll(/`[^`]*`/g, ""))) {
      const file = resolve(root, dirname(path), normalize(decodeURI(target)));
      if (!existsSync(file))
        findings.push({ path, line: index + 1, message: `the link to ${target} leads nowhere` });
    }
  }
  return findings;
}

function linkTargets(text: string): string[] {
  const targets = [...text.matchAll(/\]\(<?([^)\s>]+)>?(?:\s+"[^"]*")?\)/g)].map((match) => match[1] ?? "");
  return targets
    .filter((target) => !/^([a-z]+:|#|\/\/)/i.test(target))
    .map((target) => target.replace(/[#?].*$/, ""))
    .filter((target) => target !== "");
}

function matchingLines(content: string, pattern: RegExp): number[] {
  return content.split("\n").flatMap((line, index) => (pattern.test(line) ? [index + 1] : []));
}
