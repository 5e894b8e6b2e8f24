import { existsSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { StorageFullError } from '../../../src/errors.ts';
import type { ExportedLogin } from '../../../src/transfer/types.ts';
import { openVault } from '../../../src/vault/open.ts';
import { goodLogin } from '../../support/homes/good-login.ts';
import { temporaryDirectory, temporaryHome } from '../../support/homes/home.ts';
import { NO_SMALL_DISK, smallDisk } from '../../support/homes/small-disk.ts';

const login = goodLogin();

describe.skipIf(NO_SMALL_DISK)('holdfast export --move on a full disk', () => {
  test.each([
    { to: 'a file', out: true },
    { to: 'standard output', out: false },
  ])('exports nothing to $to when the disk is full, and the login stays', async ({ out }) => {
    const disk = await smallDisk();
    const at = await login.home(disk.home.path);
    await disk.fill();
    const file = join(await temporaryDirectory(), 'exported.json');
    const args = ['export', login.servers.resource, '--reveal', '--move', '--yes'];
    const ended = await at.run(out ? [...args, '--out', file] : args);
    expect(ended.code).toBe(6);
    expect(ended.err).toContain('no space is left on the device');
    expect(ended.out).toBe('');
    expect(existsSync(file)).toBe(false);
    await disk.empty();
    expect(await login.works(at)).toBe(true);
  });

  test('delivers nothing when there is no room to record the move', async () => {
    const disk = await smallDisk();
    await login.home(disk.home.path);
    const vault = openVault({ environment: disk.home.environment });
    await disk.fill();
    let asked = false;
    const exporting = vault.transfer.export(login.servers.resource, {
      mode: 'move',
      deliver: async () => {
        asked = true;
      },
    });
    await expect(exporting).rejects.toThrow(StorageFullError);
    expect(asked).toBe(false);
    await vault.close();
  });
});

describe('an interrupted move', () => {
  test('says that the login is in two places when the move cannot be recorded after delivery', async () => {
    const { path, layout, environment } = await temporaryHome();
    await login.home(path);
    const vault = openVault({ environment });
    let given: ExportedLogin | undefined;
    const exporting = vault.transfer.export(login.servers.resource, {
      mode: 'move',
      deliver: async (exported) => {
        given = exported;
        await rm(layout.temporary, { recursive: true });
        await writeFile(layout.temporary, '');
      },
    });
    await expect(exporting).rejects.toThrow(
      `The login to ${login.servers.resource} was exported and is still here too.`,
    );
    expect(given?.canRefresh).toBe(true);
    await rm(layout.temporary);
    expect((await vault.token(login.servers.resource)).token.reveal()).toBe(given?.accessToken.reveal());
    await vault.close();
  });
});
