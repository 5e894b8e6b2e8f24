import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { fixtureAt } from '../support/homes/docker-agent.ts';
import { temporaryHome } from '../support/homes/home.ts';
import { holdfast, start, TYPESCRIPT } from '../support/processes/process.ts';

/** A directory of docker-agent, and the finding of `doctor` for each check. */
async function place() {
  const { path } = await temporaryHome();
  const directory = join(path, '..', 'cagent');
  const doctor = async () => {
    const args = ['doctor', '--json', '--store', 'docker-agent', '--docker-agent-dir', directory];
    const { code, out } = await holdfast(args, { HOLDFAST_HOME: path, HOME: join(path, '..') }).ended;
    const { findings } = JSON.parse(out) as {
      findings: { check: string; status: string; message: string; hint?: string }[];
    };
    const of = (check: string) => findings.filter((one) => one.check === check);
    return { code, of };
  };
  return { directory, doctor };
}

describe('holdfast doctor --store docker-agent', () => {
  test('says where the key is and how many entries the file has, and changes nothing', async () => {
    const at = await place();
    await fixtureAt(at.directory);
    const before = await readFile(join(at.directory, 'mcp-oauth-tokens.enc'), 'base64');
    const { code, of } = await at.doctor();
    expect(code).toBe(0);
    expect(of('keyring')[0]).toMatchObject({ status: 'ok', message: 'docker-agent’s key is in file.' });
    expect(of('store')).toMatchObject([{ status: 'ok', message: expect.stringContaining('has 3 entries') }]);
    expect(of('lock')).toMatchObject([{ status: 'ok' }]);
    expect(of('home')).toMatchObject([{ status: 'ok' }]);
    expect(await readFile(join(at.directory, 'mcp-oauth-tokens.enc'), 'base64')).toBe(before);
  });

  test('says that there is nothing yet, and creates nothing', async () => {
    const at = await place();
    const { code, of } = await at.doctor();
    expect(code).toBe(0);
    expect(of('keyring')[0]?.message).toContain('no key yet');
    expect(await readdir(join(at.directory, '..'))).not.toContain('cagent');
  });

  test('says that the file does not open when its key is gone', async () => {
    const at = await place();
    await fixtureAt(at.directory);
    await rm(join(at.directory, 'mcp-oauth-keyring'), { recursive: true });
    const { code, of } = await at.doctor();
    expect(code).toBe(1);
    expect(of('keyring')[0]).toMatchObject({ status: 'failed', hint: expect.any(String) });
    expect(of('store')).toMatchObject([{ status: 'failed' }]);
  });

  test('says that the lock is held, and how to see by whom', async () => {
    const at = await place();
    await fixtureAt(at.directory);
    const lock = join(at.directory, 'mcp-oauth-tokens.enc.lock');
    const script = join(import.meta.dirname, '../support/processes/lock-holder.ts');
    const holder = start(process.execPath, [...TYPESCRIPT, script, lock, 'flock']);
    await holder.says('locked');
    const { of } = await at.doctor();
    expect(of('lock')).toMatchObject([{ status: 'warning', hint: expect.stringContaining(lock) }]);
    holder.kill('SIGKILL');
    await holder.ended;
  });
});
