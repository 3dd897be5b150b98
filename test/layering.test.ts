// Who may import whom (CONTRIBUTING.md): workers → src → config, one way; the two kinds of process share types, never
// state; no cycles, not even of types; Node's internals in one place.
//
// Imports are found by pattern in formatted source, not by a parser: Biome writes every import in one of these forms.

import assert from 'node:assert/strict';
import { builtinModules } from 'node:module';
import { posix } from 'node:path';
import { describe, it } from 'node:test';
import { projectFile, projectFiles } from './project.ts';

const PRODUCT = ['config', 'src', 'workers'];
const FOLDERS = [...PRODUCT, 'test', 'bench'];

interface Source {
  path: string;
  /** Without comments, so that prose that shows an import is none. */
  code: string;
  /** Specifiers as written. */
  imports: string[];
  /** Those of our own files, as paths from the root. */
  own: string[];
}

const SOURCES: readonly Source[] = FOLDERS.flatMap((folder) => projectFiles(folder))
  .filter((path) => path.endsWith('.ts'))
  .map(readSource);
const BY_PATH = new Map(SOURCES.map((source) => [source.path, source]));

describe('layers', () => {
  it('there are sources to look at, and every import of our own files names one', () => {
    assert.ok(SOURCES.length > 10);
    for (const { path, own } of SOURCES) {
      for (const target of own) assert.ok(BY_PATH.has(target), `${path} imports ${target}, which is not there`);
    }
  });

  it('config imports nothing of ours from elsewhere, and of others node: and valibot alone', () => {
    forEachImport('config', (path, target, own) => {
      const allowed = own ? target.startsWith('config/') : target.startsWith('node:') || target === 'valibot';
      assert.ok(allowed, `${path} imports ${target}`);
    });
  });

  it('src imports src and config, never workers', () => {
    forEachImport('src', (path, target, own) => {
      if (own) assert.match(target, /^(src|config)\//, `${path} imports ${target}`);
    });
  });

  it('what both kinds of process share does not import the primary; the command alone does', () => {
    forEachImport('src', (path, target) => {
      if (path.startsWith('src/primary/') || path === 'src/main.ts') return;
      assert.doesNotMatch(target, /^src\/(primary\/|main\.ts)/, `${path} imports ${target}`);
    });
  });

  it('workers import workers, src and config, never the primary', () => {
    forEachImport('workers', (path, target, own) => {
      if (own) assert.match(target, /^(workers|src|config)\//, `${path} imports ${target}`);
      assert.doesNotMatch(target, /^src\/(primary\/|main\.ts)/, `${path} imports ${target}`);
    });
  });

  it('workers take their configuration from the primary and never read it themselves', () => {
    forEachImport('workers', (path, target) => {
      assert.doesNotMatch(target, /^config\/(load|knobs)\.ts$/, `${path} imports ${target}`);
    });
  });

  it('a worker loads no package at its start, and none but ioredis at all', () => {
    assert.deepEqual(packagesLoadedBy('workers/main.ts'), []);
    assert.deepEqual(packagesLoadedBy('src/broker/redis.ts'), ['ioredis']);
    assert.ok(packagesLoadedBy('src/main.ts').includes('dotenv'), 'they are found where they are');
  });

  it('the product imports neither tests nor benchmarks', () => {
    for (const folder of PRODUCT) {
      forEachImport(folder, (path, target) => {
        assert.doesNotMatch(target, /^(test|bench)\//, `${path} imports ${target}`);
      });
    }
  });

  it('there are no cycles, not even of types', () => {
    const done = new Set<string>();
    for (const { path } of SOURCES) assert.deepEqual(findCycle(path, [], done), null);
  });
});

describe('names', () => {
  it('no file is a barrel or a drawer for whatever is left over', () => {
    for (const { path, code } of SOURCES) {
      assert.doesNotMatch(path, /(^|\/)(index|utils?|helpers?|common|misc|shared)(\.ts|\/)/, path);
      assert.doesNotMatch(code, /^export (type )?(\*|\{[^}]*\}) from/m, `${path} exports what is another file's`);
    }
  });

  it('own files are imported by their names, with .ts, and Node’s own modules with node:', () => {
    for (const { path, imports } of SOURCES) {
      for (const specifier of imports) {
        if (specifier.startsWith('.')) assert.match(specifier, /\.ts$/, `${path} imports ${specifier}`);
        else assert.ok(!builtinModules.includes(specifier), `${path} imports ${specifier} without node:`);
      }
    }
  });

  it('every file says on top what it is', () => {
    for (const { path } of SOURCES) {
      assert.match(projectFile(path), /^(#!\/usr\/bin\/env node\n)?(\/\/ |\/\*\*?[ \n])/, path);
    }
  });
});

describe('dependencies', () => {
  const manifest: { dependencies?: object; devDependencies?: object } = JSON.parse(projectFile('package.json'));
  const runtime = Object.keys(manifest.dependencies ?? {});
  const development = Object.keys(manifest.devDependencies ?? {});

  it('the product imports only what is installed with it', () => {
    for (const { path, package: name } of packagesOf(PRODUCT))
      assert.ok(runtime.includes(name), `${path} imports ${name}`);
  });

  it('tests and benchmarks import only what package.json names', () => {
    for (const { path, package: name } of packagesOf(['test', 'bench'])) {
      assert.ok(runtime.includes(name) || development.includes(name), `${path} imports ${name}`);
    }
  });

  it('each of the product’s dependencies is used', () => {
    const used = new Set(packagesOf(PRODUCT).map(({ package: name }) => name));
    assert.deepEqual(
      runtime.filter((name) => !used.has(name)),
      [],
    );
  });
});

describe('Node’s internals', () => {
  // The second is one socket that node:child_process makes and cannot be told how to read: docs/adr/0008.
  const KNOWING = ['workers/wire/', 'src/primary/worker-link.ts'];

  it('are touched in workers/wire, and of the primary where it takes its end of a link', () => {
    for (const { path, code } of SOURCES) {
      if (!PRODUCT.some((folder) => path.startsWith(`${folder}/`))) continue;
      if (KNOWING.some((place) => path.startsWith(place))) continue;
      assert.doesNotMatch(code, /process\.binding|internalBinding|\._handle\b|\['_handle'\]|_http_common/, path);
    }
  });
});

function readSource(path: string): Source {
  const code = projectFile(path)
    .replaceAll(/\/\*[\s\S]*?\*\//g, '')
    .replaceAll(/^\s*\/\/.*$/gm, '');
  const imports = [
    ...code.matchAll(/^(?:import|export)\s(?:[^'"`;]*?\sfrom\s)?'([^']+)';/gm),
    ...code.matchAll(/\bimport\(\s*'([^']+)'\s*\)/g),
  ].map(([, specifier]) => specifier ?? '');
  const own = imports
    .filter((specifier) => specifier.startsWith('.'))
    .map((specifier) => posix.join(posix.dirname(path), specifier));
  return { path, code, imports, own };
}

/** Calls back with our own files as paths from the root, and everything else as it is written. */
function forEachImport(folder: string, check: (path: string, target: string, own: boolean) => void): void {
  for (const { path, imports, own } of SOURCES) {
    if (!path.startsWith(`${folder}/`)) continue;
    for (const target of own) check(path, target, true);
    for (const specifier of imports) if (!specifier.startsWith('.')) check(path, specifier, false);
  }
}

/** The cycle that is reached from `path`, or null. */
function findCycle(path: string, trail: string[], done: Set<string>): string[] | null {
  const at = trail.indexOf(path);
  if (at >= 0) return [...trail.slice(at), path];
  if (done.has(path)) return null;
  for (const next of BY_PATH.get(path)?.own ?? []) {
    const cycle = findCycle(next, [...trail, path], done);
    if (cycle !== null) return cycle;
  }
  done.add(path);
  return null;
}

/** Packages that are there once a file has been loaded: through imports of more than types, and `require`; not `import()`. */
function packagesLoadedBy(path: string, seen = new Set<string>()): string[] {
  const code = BY_PATH.get(path)?.code;
  if (code === undefined || seen.has(path)) return [];
  seen.add(path);
  const specifiers = [
    ...code.matchAll(/^import\s(?!type\s)(?:[^'"`;]*?\sfrom\s)?'([^']+)';/gm),
    ...code.matchAll(/createRequire\(import\.meta\.url\)\('([^']+)'\)/g),
  ].map(([, specifier]) => specifier ?? '');
  const loaded = specifiers.flatMap((specifier) => {
    if (specifier.startsWith('node:')) return [];
    if (!specifier.startsWith('.')) return [specifier];
    return packagesLoadedBy(posix.join(posix.dirname(path), specifier), seen);
  });
  return [...new Set(loaded)];
}

/** Imports of packages: `@scope/name/part` is of the package `@scope/name`. */
function packagesOf(folders: readonly string[]): { path: string; package: string }[] {
  return SOURCES.filter(({ path }) => folders.some((folder) => path.startsWith(`${folder}/`))).flatMap(
    ({ path, imports }) =>
      imports
        .filter((specifier) => !specifier.startsWith('.') && !specifier.startsWith('node:'))
        .map((specifier) => ({
          path,
          package: specifier
            .split('/')
            .slice(0, specifier.startsWith('@') ? 2 : 1)
            .join('/'),
        })),
  );
}
