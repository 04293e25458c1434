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
  const { private: _guard, exports: sources = {}, dependencies = {}, ...rest } = manifest;
  const entries = Object.entries(sources).map(([path, source]) => [path, entryOf(manifest.name, source)]);
  const versions = Object.entries(dependencies).map(([name, wanted]) => {
    const own = options.versions.get(name);
    if (own === undefined && wanted === "*")
      throw new Error(`${manifest.name}: the dependency ${name} has no version to publish`);
    return [name, own ?? wanted];
  });
  return {
    ...rest,
    files: options.files,
    // tools and people look for a package's version by this path
    exports: { ...Object.fromEntries(entries), "./package.json": "./package.json" },
    ...(versions.length === 0 ? {} : { dependencies: Object.fromEntries(versions) }),
  };
}

function entryOf(name: string, source: string): Entry {
  const stem = /^\.\/src\/(.+)\.ts$/.exec(source)?.[1];
  if (stem === undefined)
    throw new Error(`${name}: the export ${source} is not a source file of the package`);
  return { types: `./dist/${stem}.d.ts`, default: `./dist/${stem}.js` };
}
