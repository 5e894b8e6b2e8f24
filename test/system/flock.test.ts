import fs from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { tryFlock } from '../../src/system/locks/flock.ts';
import { temporaryHome } from '../support/homes/home.ts';

test.skipIf(process.platform === 'win32')(
  'opens a lock file again if it was removed before it was locked, so that the next caller waits',
  async () => {
    const { path: directory } = await temporaryHome();
    await mkdir(directory, { mode: 0o700 });
    const path = join(directory, 'a.lock');
    const open = fs.openSync;
    onTestFinished(() => {
      fs.openSync = open;
      syncBuiltinESMExports();
    });
    let removed = 0;
    fs.openSync = (...given: Parameters<typeof open>) => {
      const fd = open(...given);
      if (given[0] === path && removed === 0) {
        removed += 1;
        fs.unlinkSync(path);
      }
      return fd;
    };
    syncBuiltinESMExports();
    const first = await tryFlock(path);
    expect([removed, first.outcome]).toEqual([1, 'locked']);
    expect((await tryFlock(path)).outcome).toBe('held');
    if (first.outcome === 'locked') await first.release();
  },
);
