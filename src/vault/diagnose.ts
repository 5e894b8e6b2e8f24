import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { HoldfastError } from '../errors.ts';
import type { TierReport } from '../keyring/keyring.ts';
import { defaultOpeners, KeyringResolution } from '../keyring/open.ts';
import { SealingKeys } from '../keyring/sealing-key.ts';
import { quote } from '../quote.ts';
import { DirectoryStore } from '../store/directory.ts';
import { MemoryStore } from '../store/memory.ts';
import type { Environment } from '../system/environment.ts';
import { fileSystemOf } from '../system/file-system.ts';
import { acquireLock } from '../system/lock.ts';
import { type Layout, layoutOf } from '../system/paths.ts';
import { checkPrivateDirectory, fileVersion, listPrivateDirectory } from '../system/private-directory.ts';
import { shellPath } from '../system/storage-error.ts';
import { VERSION } from '../version.ts';
import { Custody } from './custody.ts';

/*
 * Independent checks of everything that a login stands on. One that fails does not stop the others; each says what to do.
 * None shows a secret, asks a server, or prompts.
 */

export interface Finding {
  readonly check: string;
  readonly status: 'ok' | 'warning' | 'failed';
  readonly message: string;
  readonly hint?: string | undefined;
}

export interface Diagnosis {
  readonly findings: readonly Finding[];
  readonly tiers: readonly TierReport[];
}

type Check = () => Promise<Finding[]>;

/** Keep this much free: a record has a few kilobytes, and a full disk is noticed too late. */
const LITTLE_SPACE_BYTES = 1024 * 1024;

/** No clock of a working machine shows a time before this version was written. */
const WRITTEN_AT = Date.UTC(2026, 10, 1);

export async function diagnose(
  environment: Environment,
  options: { home?: string | undefined; keyring?: string | undefined } = {},
): Promise<Diagnosis> {
  const layout = layoutOf(environment, options.home);
  const resolution = new KeyringResolution({
    openers: defaultOpeners(environment, layout),
    choice: options.keyring ?? (environment.variables['HOLDFAST_KEYRING'] || undefined),
  });
  const keys = new SealingKeys(resolution, layout, environment);
  const store = new DirectoryStore(layout, environment);
  const custody = new Custody({ lasting: store, passing: new MemoryStore() }, keys);
  const checks: Readonly<Record<string, Check>> = {
    versions: async () => versions(environment),
    home: () => home(layout, environment),
    'file system': () => fileSystem(layout, environment),
    store: async () => {
      await store.rehearse();
      return [ok('store', 'A record was written, read back, compared and removed.')];
    },
    lock: () => lock(layout),
    keyrings: () => keyrings(resolution),
    records: () => records(custody, layout, environment),
    clock: async () => clock(Date.now()),
    network: async () => network(environment),
  };
  const findings: Finding[] = [];
  try {
    for (const [check, run] of Object.entries(checks)) {
      try {
        findings.push(...(await run()));
      } catch (error) {
        const known = error instanceof HoldfastError ? error : undefined;
        findings.push({
          check,
          status: 'failed',
          message: known?.message ?? `The check itself failed: ${quote(String(error))}.`,
          hint: known?.hint,
        });
      }
    }
    return { findings, tiers: resolution.reports() };
  } finally {
    await custody.close();
  }
}

function versions({ platform }: Environment): Finding[] {
  return [ok('versions', `Holdfast ${VERSION}, Node ${process.version}, ${platform} ${process.arch}.`)];
}

async function home(layout: Layout, environment: Environment): Promise<Finding[]> {
  if (!(await checkPrivateDirectory(layout.home, environment))) {
    return [ok('home', `${shellPath(layout.home)} is not there yet; the first login makes it.`)];
  }
  for (const directory of [
    layout.keyring,
    layout.credentials,
    layout.locks,
    layout.quarantine,
    layout.temporary,
  ]) {
    await checkPrivateDirectory(directory, environment);
  }
  return [ok('home', `${shellPath(layout.home)} and what lies below are yours, and closed to others.`)];
}

async function fileSystem(layout: Layout, { platform }: Environment): Promise<Finding[]> {
  const { name, kind, freeBytes } = await fileSystemOf(layout.home, platform);
  const findings: Finding[] = [];
  if (freeBytes < LITTLE_SPACE_BYTES) {
    findings.push(
      warning(
        'file system',
        `Only ${freeBytes} bytes are free there.`,
        'Free some space before the next login.',
      ),
    );
  }
  const say = {
    disk: () => ok('file system', `${name}: what is stored survives a restart.`),
    memory: () =>
      warning(
        'file system',
        `${name}: what is stored is gone at the next boot, or when the container ends.`,
        'Set HOLDFAST_HOME to a directory on a disk or a volume.',
      ),
    layered: () =>
      warning(
        'file system',
        `${name}: in a container, what is stored is gone when the container is removed.`,
        'Set HOLDFAST_HOME to a directory on a volume, if logins must survive that.',
      ),
    network: () =>
      warning(
        'file system',
        `${name}: on a network or shared file system, the lock may not hold between machines.`,
        'Set HOLDFAST_HOME to a local directory, unless you know that flock works across its clients.',
      ),
    unknown: () => ok('file system', `${name}; nothing is known against it.`),
  }[kind];
  return [...findings, say()];
}

async function lock(layout: Layout): Promise<Finding[]> {
  const held = await acquireLock(join(layout.locks, 'doctor.lock'), { waitMs: 1000 });
  await held.release();
  return [ok('lock', 'flock works there: a refresh happens once, whatever number of processes ask.')];
}

/** Every keyring of the list is tried; the one that would serve also keeps, gives back and removes an item. */
async function keyrings(resolution: KeyringResolution): Promise<Finding[]> {
  const findings: Finding[] = [];
  let serving: string | undefined;
  for await (const { keyring, lifetime } of resolution.usable()) {
    if (serving !== undefined) continue;
    try {
      const name = 'doctor';
      const written = randomBytes(32);
      await keyring.set(name, written);
      const found = await keyring.get(name);
      await keyring.delete(name);
      if (found === undefined || !written.equals(found)) {
        findings.push(failed('keyring', `${keyring.id} gave back something else than was written.`));
        continue;
      }
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      resolution.passOver(keyring.id, error);
      continue;
    }
    serving = keyring.id;
    findings.push(
      lifetime === 'process'
        ? failed(
            'keyring',
            'Only memory is left: no login survives its process.',
            'Mend one of the keyrings below, or set HOLDFAST_HOME to a directory that can be written.',
          )
        : ok(
            'keyring',
            `New logins are sealed under a key in ${keyring.id}; an item was kept, read and removed there.`,
          ),
    );
  }
  for (const { id, outcome, status, reason, hint } of resolution.reports()) {
    if (outcome === 'passed-over') {
      const message = `${id} is passed over (${status}): ${reason}`;
      findings.push(
        status === 'absent' ? { ...ok('keyring', message), hint } : warning('keyring', message, hint),
      );
    }
  }
  return findings;
}

async function records(custody: Custody, layout: Layout, environment: Environment): Promise<Finding[]> {
  const { held, unopened } = await custody.list();
  const findings = [ok('records', `${held.length} ${held.length === 1 ? 'login opens' : 'logins open'}.`)];
  for (const { id, error } of unopened) {
    const say = error.code === 'record-damaged' ? failed : warning;
    findings.push(say('records', `Record ${id.slice(0, 12)}… does not open: ${error.message}`, error.hint));
  }
  const aside = await listPrivateDirectory(layout.quarantine, environment);
  if (aside.length > 0) {
    findings.push(
      warning(
        'records',
        `${aside.length} damaged ${aside.length === 1 ? 'record lies' : 'records lie'} in quarantine.`,
        `They are kept until you remove them: ls ${shellPath(layout.quarantine)}`,
      ),
    );
  }
  if ((await fileVersion(layout.passphrase)) !== undefined) {
    findings.push(
      ok(
        'records',
        `The file keyring’s passphrase is ${shellPath(layout.passphrase)}: who can read it can open the logins.`,
      ),
    );
  }
  return findings;
}

function clock(now: number): Finding[] {
  return [
    now >= WRITTEN_AT
      ? ok('clock', `It is ${new Date(now).toISOString()} by this machine.`)
      : failed(
          'clock',
          `This machine says it is ${new Date(now).toISOString()}, which is in the past.`,
          'Set the clock; with a wrong one, tokens seem fresh or expired when they are not.',
        ),
  ];
}

/** Proxy settings that Node's own client does not follow are the usual reason for "cannot be reached". */
function network({ variables }: Environment): Finding[] {
  const findings: Finding[] = [];
  const named = (names: readonly string[]) =>
    names.filter((name) => variables[name] || variables[name.toLowerCase()]);
  const proxies = named(['HTTPS_PROXY', 'HTTP_PROXY', 'ALL_PROXY']);
  if (proxies.length > 0) {
    findings.push(
      warning(
        'network',
        `${proxies.join(', ')} ${proxies.length === 1 ? 'is' : 'are'} set, and Holdfast does not go through a proxy yet.`,
        'Servers must be reachable directly, or through a transparent proxy.',
      ),
    );
  }
  const authorities = named(['NODE_EXTRA_CA_CERTS', 'SSL_CERT_FILE', 'SSL_CERT_DIR']);
  findings.push(
    ok(
      'network',
      authorities.length === 0
        ? 'Certificates are checked against the authorities that come with Node.'
        : `Certificate settings: ${authorities.join(', ')}. Node reads NODE_EXTRA_CA_CERTS; the others only with --use-openssl-ca.`,
    ),
  );
  return findings;
}

function ok(check: string, message: string): Finding {
  return { check, status: 'ok', message };
}

function warning(check: string, message: string, hint?: string): Finding {
  return { check, status: 'warning', message, hint };
}

function failed(check: string, message: string, hint?: string): Finding {
  return { check, status: 'failed', message, hint };
}
