// What package.json and its neighbours promise: the command, the files in the package, the supported Node, in all the
// places that say so.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { PROJECT_ROOT, projectFile } from './project.ts';

interface Manifest {
  name: string;
  version: string;
  license: string;
  type: string;
  bin: Record<string, string>;
  files: string[];
  engines: Record<string, string>;
  dependencies: Record<string, string>;
}

const MANIFEST: Manifest = JSON.parse(projectFile('package.json'));

/** More than this needs a reason in docs/adr: each one is code that runs beside every connection. */
const DEPENDENCY_LIMIT = 6;

describe('package.json', () => {
  it('has a command whose source is there and can be run', () => {
    assert.deepEqual(Object.keys(MANIFEST.bin), [MANIFEST.name]);
    for (const file of Object.values(MANIFEST.bin)) {
      assert.match(projectFile(file.replace(/^dist\//, '').replace(/\.js$/, '.ts')), /^#!\/usr\/bin\/env node\n/);
    }
  });

  it('packs the compiled product, and no tests or benchmarks', () => {
    const LUA = ['src/broker/longwire.lua', 'src/broker/presence.lua'];
    assert.deepEqual(MANIFEST.files, ['dist/config', 'dist/src', 'dist/workers', ...LUA]);
    for (const file of LUA) assert.ok(projectFile('Dockerfile').includes(`COPY --from=build /app/${file} ${file}\n`));
    const build: { include: string[] } = JSON.parse(projectFile('tsconfig.build.json'));
    assert.deepEqual(
      MANIFEST.files.filter((file) => !LUA.includes(file)),
      build.include.map((folder) => `dist/${folder}`),
    );
  });

  it('has few dependencies', () => {
    assert.ok(Object.keys(MANIFEST.dependencies).length <= DEPENDENCY_LIMIT);
  });

  it('agrees with its lock file', () => {
    const lock: { packages: Record<string, Partial<Manifest>> } = JSON.parse(projectFile('package-lock.json'));
    assert.equal(lock.packages['']?.version, MANIFEST.version);
    assert.deepEqual(lock.packages['']?.dependencies, MANIFEST.dependencies);
    assert.deepEqual(lock.packages['']?.engines, MANIFEST.engines);
  });

  it('has the licence that LICENSE holds', () => {
    assert.equal(MANIFEST.license, 'MIT');
    assert.match(projectFile('LICENSE'), /^MIT License/);
  });
});

describe('its version', () => {
  it('is the image’s in docker-compose.yml', () => {
    assert.ok(projectFile('docker-compose.yml').includes(`image: ${MANIFEST.name}:${MANIFEST.version}\n`));
  });
});

describe('its Node', () => {
  const oldest = /^>=(\d+)\.(\d+)$/.exec(MANIFEST.engines.node ?? '');

  it('is the image’s in the Dockerfile', () => {
    const major = Number(/NODE_IMAGE=node:(\d+)-/.exec(projectFile('Dockerfile'))?.[1]);
    assert.ok(major > Number(oldest?.[1]));
  });

  it('is the one that CONTRIBUTING.md asks for', () => {
    assert.ok(projectFile('CONTRIBUTING.md').includes(`Node ≥ ${oldest?.[1]}.${oldest?.[2]}`));
  });
});

describe('the image', () => {
  it('copies nothing that .dockerignore holds back', () => {
    const letIn = projectFile('.dockerignore')
      .split('\n')
      .filter((line) => line.startsWith('!'))
      .map((line) => line.slice(1));
    const copied = [...projectFile('Dockerfile').matchAll(/^COPY (?!--from)(.+)$/gm)].flatMap(([, list = '']) =>
      list.split(' ').slice(0, -1),
    );
    assert.ok(copied.length > 0);
    assert.deepEqual([...new Set(copied)].sort(), letIn.sort());
    for (const path of copied) assert.ok(existsSync(join(PROJECT_ROOT, path)), path);
  });
});
