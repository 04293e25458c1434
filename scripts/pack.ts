// `npm run pack`: what is published, made from the sources: one npm tarball per package, in dist/.
//
//   npm run pack                  dist/everycore-<version>.tgz and one for each @everycore/ package
//   npm run pack -- --folders     only the folders they are made of, dist/packages/<name> (for images)
//   npm run pack -- --out DIR     into another folder
//
// T1  A published package is JavaScript with declarations: Node strips no types under node_modules. It lies as deep
//     as its source (`dist` for `src`), so that what stands beside it is found by the same relative path.
// T2  It carries all that it reads when it runs: the contract (proto/), the Python worker host, the launcher.
// T3  The packages of one version belong together: "*" of the workspace becomes the exact version.

import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { type Manifest, publishedManifest } from "./published-manifest.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const { values: flags } = parseArgs({
  options: {
    folders: { type: "boolean", default: false },
    out: { type: "string", default: join(root, "dist") },
  },
});
const out = resolve(flags.out);
const emitted = join(out, "emitted");

/** Each package, and what it carries besides its code and its licence: [from the root, in the package]. */
const packages: Readonly<Record<string, readonly (readonly [string, string])[]>> = {
  protocol: [],
  client: [["proto/everycore", "proto/everycore"]],
  coordinator: [["proto/everycore", "proto/everycore"]],
  "node-agent": [
    ["proto/everycore", "proto/everycore"],
    ["python/src/everycore", "python/everycore"],
  ],
  cli: [["packages/cli/bin", "bin"]],
};

for (const old of ["emitted", "packages"]) rmSync(join(out, old), { recursive: true, force: true });
run(join(root, "node_modules", ".bin", "tsc"), ["-p", "tsconfig.pack.json", "--outDir", emitted]);
const manifests = new Map(
  Object.keys(packages).map((name) => [name, readManifest(join(root, "packages", name))]),
);
const folders = [...manifests].map(([name, manifest]) => assemble(name, manifest));
rmSync(emitted, { recursive: true });
if (!flags.folders) {
  run("npm", ["pack", "--silent", "--pack-destination", out, ...folders]);
  for (const name of readdirSync(out)
    .filter((file) => file.endsWith(".tgz"))
    .toSorted()) {
    process.stdout.write(`${relative(process.cwd(), join(out, name))}\n`);
  }
}

/** One folder as it is published. */
function assemble(name: string, manifest: Manifest): string {
  const folder = join(out, "packages", name);
  mkdirSync(folder, { recursive: true });
  cpSync(join(emitted, name, "src"), join(folder, "dist"), { recursive: true });
  for (const file of readdirSync(join(folder, "dist"), { recursive: true, encoding: "utf8" })) {
    if (file.endsWith(".d.ts")) repairDeclaration(join(folder, "dist", file));
  }
  const carried = packages[name] ?? [];
  for (const [from, to] of carried) {
    const isWanted = (path: string): boolean => !path.includes("__pycache__");
    cpSync(join(root, from), join(folder, to), { recursive: true, filter: isWanted });
  }
  cpSync(join(root, "LICENSE"), join(folder, "LICENSE"));
  writeFileSync(join(folder, "README.md"), readmeOf(name, manifest));
  const files = ["dist", ...new Set(carried.map(([, to]) => to.split("/")[0]!))];
  const versions = new Map([...manifests.values()].map((each) => [each.name, each.version]));
  const published = publishedManifest(manifest, { files, versions });
  writeFileSync(join(folder, "package.json"), `${JSON.stringify(published, undefined, 2)}\n`);
  return folder;
}

/** The compiler renames imports in code only; declarations that say ".ts" need a recent compiler to be read. */
function repairDeclaration(file: string): void {
  const text = readFileSync(file, "utf8");
  writeFileSync(file, text.replaceAll(/((?:from|import\()\s*"\.{1,2}\/[^"]+)\.ts"/g, '$1.js"'));
}

function readmeOf(name: string, manifest: Manifest): string {
  const own = [
    join(root, "packages", name, "README.md"),
    ...(name === "cli" ? [join(root, "README.md")] : []),
  ];
  const found = own.find((file) => existsSync(file));
  if (found !== undefined) return readFileSync(found, "utf8");
  const { name: title, description } = manifest;
  return `# ${title}\n\n${description}.\n\nA part of everycore, of the same version as its other parts; the command is the package \`everycore\`.\n`;
}

function readManifest(folder: string): Manifest {
  return JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as Manifest; // our own file
}

function run(command: string, args: readonly string[]): void {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: ["ignore", "ignore", "inherit"] });
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`${command} ${args.join(" ")} ended with ${status}`);
}
