// The package.json that is published, made from the one of the workspace: see pack.ts.

export interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly private?: boolean;
  readonly description: string;
  readonly license: string;
  readonly type: string;
  readonly bin?: Readonly<Record<string, string>>;
  readonly exports?: Readonly<Record<string, string>>;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
  readonly engines: Readonly<Record<string, string>>;
}

export interface PublishOptions {
  readonly files: readonly string[];
  /** Of the workspace's packages. */
  readonly versions: ReadonlyMap<string, string>;
}

type Entry = { readonly types: string; readonly default: string };
export type PublishedManifest = Omit<Manifest, "private" | "exports"> & {
  readonly files: readonly string[];
  readonly exports: Readonly<Record<string, Entry | string>>;
};

export function publishedManifest(manifest: Manifest, options: PublishOptions): PublishedManifest {
  const { private: _guard, exports: sources = {}, dependencies, peerDependencies, ...rest } = manifest;
  const entries = Object.entries(sources).map(([path, source]) => [path, entryOf(manifest.name, source)]);
  const withVersions = (wanted: Readonly<Record<string, string>>): Record<string, string> =>
    Object.fromEntries(
      Object.entries(wanted).map(([name, range]) => [name, versionOf(name, range, options.versions)]),
    );
  return {
    ...rest,
    files: options.files,
    // tools and people look for a package's version by this path
    exports: { ...Object.fromEntries(entries), "./package.json": "./package.json" },
    ...(dependencies === undefined ? {} : { dependencies: withVersions(dependencies) }),
    ...(peerDependencies === undefined ? {} : { peerDependencies: withVersions(peerDependencies) }),
  };
}

function versionOf(name: string, range: string, versions: ReadonlyMap<string, string>): string {
  const own = versions.get(name);
  if (own === undefined && range === "*") throw new Error(`the dependency ${name} has no version to publish`);
  return own ?? range;
}

function entryOf(name: string, source: string): Entry {
  const stem = /^\.\/src\/(.+)\.ts$/.exec(source)?.[1];
  if (stem === undefined)
    throw new Error(`${name}: the export ${source} is not a source file of the package`);
  return { types: `./dist/${stem}.d.ts`, default: `./dist/${stem}.js` };
}
