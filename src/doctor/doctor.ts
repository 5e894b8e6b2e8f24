import { join } from 'node:path';
import type { Undecryptable } from '../credentials/credential-store.ts';
import { SealedCredentialStore } from '../credentials/sealed/sealed-credential-store.ts';
import type { TierReport } from '../keyring/keyring.ts';
import { leniencySettings } from '../login/server-settings.ts';
import { EngineStore } from '../store/engine/engine-store.ts';
import { MemoryStore } from '../store/memory.ts';
import type { RecordIndex } from '../store/record-store.ts';
import type { Environment } from '../system/environment.ts';
import { fileSystemOf } from '../system/files/file-system.ts';
import type { Layout } from '../system/files/paths.ts';
import { checkPrivateDirectory, listPrivateDirectory } from '../system/files/private-directory.ts';
import { shellPath } from '../system/files/storage-error.ts';
import { acquireLock, lockKindOf } from '../system/locks/lock.ts';
import { tellsUsers } from '../system/network/tcp-peer.ts';
import { copiesAmong, copiesWarning } from '../vault/copies.ts';
import { isGone } from '../vault/forget.ts';
import { homeOf, openParts } from '../vault/storage.ts';
import type { StoreName } from '../vault/types.ts';
import { unseenLeaseWarning } from '../vault/unseen-lease.ts';
import { VERSION } from '../version.ts';
import { dockerAgentBundle, dockerAgentKey, dockerAgentLock } from './docker-agent.ts';
import { engineFindings } from './engine.ts';
import { type Finding, failed, failureOf, ok, warning } from './finding.ts';
import { keyrings, passphrase } from './keyrings.ts';

/*
 * Independent checks of everything that a login depends on. A failed check does not stop the others; each says what to
 * do. No check shows a secret, sends a request to a server, or prompts.
 */

export interface Diagnosis {
  readonly findings: readonly Finding[];
  readonly tiers: readonly TierReport[];
}

type Check = () => Promise<Finding[]>;

/** Warns below this free space: a record takes a few kilobytes, and a full disk is noticed too late. */
const LITTLE_SPACE_BYTES = 1024 * 1024;

const MOST_FILES = 5;

/** A working clock cannot show a time before this version was written. */
const WRITTEN_AT = Date.UTC(2026, 10, 1);

export async function diagnose(
  environment: Environment,
  options: { home?: string; keyring?: string; store?: StoreName; dockerAgentDir?: string } = {},
): Promise<Diagnosis> {
  const own = homeOf(options, environment);
  const context = openParts(options, environment, own);
  const { layout, resolution, keys, store } = context;
  const theirs = context.of === 'docker-agent' ? context : undefined;
  const engine = store instanceof EngineStore ? store : undefined;
  const credentialStore = new SealedCredentialStore({
    persistent: context.persistent,
    ephemeral: new MemoryStore(),
    keys,
  });
  const checks: Record<string, Check> = {
    versions: async () => versions(environment),
    home: () => home(layout, environment),
    'file system': () => fileSystem(layout, environment),
    store: async () => {
      await store.selfTest();
      return [ok('store', 'A record was written, read back, compared and removed.')];
    },
    lock: async () => [
      ...(await lock(layout, environment)),
      ...('unseenLeases' in store ? await unseenLeases(store) : []),
    ],
    keyring: () => keyrings(resolution, keys),
    passphrase: () => passphrase(layout, environment, resolution),
    records: () => records(credentialStore, layout, environment),
    clock: async () => clock(Date.now()),
    network: async () => network(environment),
    'local users': () => localUsers(tellsUsers),
    leniencies: () => leniencies(credentialStore, own, environment),
    ...(theirs && {
      home: () => home(layout, environment, 'is not there; the first login makes it'),
      store: () => dockerAgentBundle(theirs),
      lock: () => dockerAgentLock(theirs, environment),
      keyring: () => dockerAgentKey(theirs, environment),
      // The passphrase is always the one that docker-agent stores beside its key.
      passphrase: async () => [],
    }),
  };
  if (engine !== undefined) {
    Object.assign(checks, {
      // The engine holds the records and their leases.
      home: async () => [],
      'file system': async () => [],
      lock: async () => [],
      store: () => engineFindings(engine),
    });
  }
  const findings: Finding[] = [];
  try {
    for (const [check, run] of Object.entries(checks)) {
      try {
        findings.push(...(await run()));
      } catch (error) {
        findings.push(failureOf(check, error, findings));
      }
    }
    return { findings, tiers: resolution.reports() };
  } finally {
    await credentialStore.close();
  }
}

function versions({ platform }: Environment): Finding[] {
  return [ok('versions', `Holdfast ${VERSION}, Node ${process.version}, ${platform} ${process.arch}.`)];
}

async function home(
  layout: Layout,
  environment: Environment,
  ifAbsent = 'was not there; the next checks make it',
): Promise<Finding[]> {
  const at = shellPath(layout.home);
  const findings: Finding[] = [];
  for (const directory of [
    layout.home,
    layout.keyring,
    layout.credentials,
    layout.locks,
    layout.quarantine,
    layout.temporary,
  ]) {
    try {
      const there = await checkPrivateDirectory(directory, environment);
      if (!there && directory === layout.home) {
        return [ok('home', `${at} ${ifAbsent}, closed to others.`)];
      }
    } catch (error) {
      findings.push(failureOf('home', error, findings));
    }
  }
  return findings.length > 0 ? findings : [ok('home', `${at} is yours, and closed to others.`)];
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

async function lock(layout: Layout, { variables }: Environment): Promise<Finding[]> {
  const kind = lockKindOf(variables);
  const held = await acquireLock(join(layout.locks, 'doctor.lock'), { waitMs: 1000, kind });
  await held.release();
  if (held.kind !== 'lease-file') {
    return [
      ok('lock', `${held.kind} works there: a refresh happens once, whatever number of processes ask.`),
    ];
  }
  return [
    kind === 'lease-file'
      ? ok('lock', 'A lease file serves as the lock: HOLDFAST_LOCK says so.')
      : warning(
          'lock',
          'A lease file serves as the lock: the file system, or this platform, has none that the kernel frees.',
          'A refresh still happens once. After a crash in another container, or on another machine, it may have to be removed by hand: the error then says which.',
        ),
  ];
}

async function unseenLeases(store: Pick<RecordIndex, 'unseenLeases'>): Promise<Finding[]> {
  const now = Date.now();
  const leases = (await store.unseenLeases?.()) ?? [];
  return leases.map((lease) => warning('lock', ...unseenLeaseWarning(lease, now)));
}

async function records(
  credentialStore: SealedCredentialStore,
  layout: Layout,
  environment: Environment,
): Promise<Finding[]> {
  const { held, undecryptable } = await credentialStore.list();
  const findings = [ok('records', `${held.length} ${held.length === 1 ? 'login opens' : 'logins open'}.`)];
  for (const [{ credential }, hosts] of await copiesAmong(held, credentialStore)) {
    const login = `${credential.resource} (${credential.account})`;
    findings.push(warning('machines', ...copiesWarning(login, hosts)));
  }
  const byReason = new Map<string, Undecryptable[]>();
  for (const one of undecryptable) {
    byReason.set(one.error.message, [...(byReason.get(one.error.message) ?? []), one]);
  }
  for (const [reason, alike] of byReason) {
    const error = alike[0]?.error;
    const damaged = error?.code === 'record-damaged';
    // A record that another session's key can open is normal. A damaged or unreadable record is a failure in every
    // session.
    const say = damaged || error?.code.startsWith('storage-') ? failed : warning;
    const ids = alike.map(({ id }) => `${id.slice(0, 12)}…`).join(', ');
    const message = `${alike.length} ${alike.length === 1 ? 'record does' : 'records do'} not open (${ids}). ${reason}`;
    const hint = damaged
      ? 'Log in again where holdfast list misses one; the record is then moved to quarantine/, not deleted. Or remove it: holdfast logout --forget'
      : undefined;
    findings.push(say('records', message + filesOf(alike), error?.hint ?? hint));
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
  return findings;
}

/** A record that no key can open does not reveal its login, so a person who removes it needs its file. */
function filesOf(records: readonly Undecryptable[]): string {
  const files = records.flatMap((one) =>
    isGone(one) && one.file !== undefined ? [shellPath(one.file)] : [],
  );
  if (files.length === 0) return '';
  const rest = files.length - MOST_FILES;
  const more = rest > 0 ? `, and ${rest} more: holdfast list --json` : '';
  return ` ${files.length === 1 ? 'Its file' : 'Their files'}: ${files.slice(0, MOST_FILES).join(', ')}${more}`;
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

/** Shows the network settings that affect every request, for users who see that a server "cannot be reached". */
function network({ variables }: Environment): Finding[] {
  const findings: Finding[] = [];
  const named = (names: readonly string[]) =>
    names.filter((name) => variables[name] || variables[name.toLowerCase()]);
  const proxies = named(['HTTPS_PROXY', 'HTTP_PROXY', 'ALL_PROXY']);
  if (proxies.length > 0) {
    findings.push(
      ok('network', `Requests go through the proxy of ${proxies.join(', ')}, but for the hosts of NO_PROXY.`),
    );
  }
  if (variables['NODE_TLS_REJECT_UNAUTHORIZED'] === '0') {
    findings.push(
      failed(
        'network',
        'NODE_TLS_REJECT_UNAUTHORIZED=0 tells Node to check no certificates. Requests of OAuth and MCP check them all the same; connections to engines, the libraries of clouds, and other programs started here do not.',
        'Trust the authority of your network instead: export NODE_EXTRA_CA_CERTS=/path/to/ca.pem; unset NODE_TLS_REJECT_UNAUTHORIZED',
      ),
    );
    return findings;
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

/** Reports nothing if the system identifies local users, because every login relies on that. */
export async function localUsers(tells: () => Promise<boolean>): Promise<Finding[]> {
  if (await tells()) return [];
  return [
    warning(
      'local users',
      'This system does not tell which user sends a redirect to this machine, or runs a server on it. Another user here can read the login URL in the process list, and could log you in to their own account.',
      'On a machine that you share, copy the URL yourself, so that no process list shows it: holdfast login URL --paste',
    ),
  ];
}

/** Lists what servers may do that a strict client refuses, by the settings and by the logins that needed it. */
async function leniencies(
  credentialStore: SealedCredentialStore,
  layout: Layout,
  environment: Environment,
): Promise<Finding[]> {
  const settings = await leniencySettings(layout, environment);
  const { held } = await credentialStore.list();
  const findings = [
    ...settings.map(({ resource, lenient }) =>
      warning(
        'leniencies',
        `config.json allows ${resource}: ${Object.keys(lenient).join(', ')}.`,
        WHY_LENIENT,
      ),
    ),
    ...held.flatMap(({ credential: { resource, account, leniencies: used = [] } }) =>
      used.length === 0
        ? []
        : [
            warning(
              'leniencies',
              `The login to ${resource} (${account}) needed: ${used.join(', ')}.`,
              WHY_LENIENT,
            ),
          ],
    ),
  ];
  return findings.length > 0
    ? findings
    : [ok('leniencies', 'No server is allowed what a strict client refuses.')];
}

const WHY_LENIENT = 'Each is a check less. Take it away when the server has mended its metadata.';
