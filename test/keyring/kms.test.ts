import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { StoreWrappedItems } from '../../src/credentials/sealed/store-wrapped-items.ts';
import {
  InvalidArgumentError,
  KeyringAbsentError,
  KeyringBrokenError,
  KeyringDeniedError,
  KeyringLockedError,
} from '../../src/errors.ts';
import { openAwsKms } from '../../src/keyring/kms/aws.ts';
import { openGcpKms } from '../../src/keyring/kms/google.ts';
import { KmsKeyring } from '../../src/keyring/kms/kms-keyring.ts';
import { namedKms } from '../../src/keyring/kms/named-kms.ts';
import { postJson } from '../../src/keyring/kms/request.ts';
import { WRAPPED_KID } from '../../src/keyring/kms/wrapped-items.ts';
import { resolveKeyrings } from '../../src/keyring/resolve.ts';
import { SealingKeys } from '../../src/keyring/sealing-key.ts';
import { DirectoryStore } from '../../src/store/directory.ts';
import { MemoryStore } from '../../src/store/memory.ts';
import type { RecordStore } from '../../src/store/record-store.ts';
import { keyringContract } from '../../src/testing/keyring-contract.ts';
import { temporaryDirectory, temporaryHome } from '../support/homes/home.ts';
import { GCP_KEY, type KmsServer, startAwsKms, startGcpKms, startVaultKms } from '../support/servers/kms.ts';

afterEach(() => vi.unstubAllEnvs());

/** A KMS that runs, and the variables that name it. */
interface Here {
  readonly kms: KmsServer;
  readonly variables: Readonly<Record<string, string>>;
}

const SERVICES: Readonly<Record<string, (query?: string) => Promise<Here>>> = {
  Vault: async (query = '') => {
    const kms = await startVaultKms();
    kms.token = 'vault-token';
    const HOLDFAST_SEALING_KMS = `vault+http://${kms.host}/transit/keys/holdfast${query && `?${query}`}`;
    return { kms, variables: { HOLDFAST_SEALING_KMS, VAULT_TOKEN: 'vault-token' } };
  },
  'AWS KMS': async (query = '') => {
    const kms = await startAwsKms();
    vi.stubEnv('AWS_ACCESS_KEY_ID', 'AKIAEXAMPLE');
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'secret-of-aws');
    const endpoint = encodeURIComponent(`http://${kms.host}`);
    return {
      kms,
      variables: {
        HOLDFAST_SEALING_KMS: `awskms:///alias/holdfast?region=eu-central-1&endpoint=${endpoint}${query && `&${query}`}`,
      },
    };
  },
  'Google Cloud KMS': async (query = '') => {
    const kms = await startGcpKms();
    kms.token = 'token-of-google';
    vi.stubEnv('GCE_METADATA_HOST', kms.host);
    vi.stubEnv('METADATA_SERVER_DETECTION', 'assume-present');
    // Keeps the credentials of the person who runs this test out.
    vi.stubEnv('GOOGLE_APPLICATION_CREDENTIALS', '');
    vi.stubEnv('CLOUDSDK_CONFIG', await temporaryDirectory());
    const endpoint = encodeURIComponent(`http://${kms.host}`);
    return {
      kms,
      variables: { HOLDFAST_SEALING_KMS: `gcpkms://${GCP_KEY}?endpoint=${endpoint}${query && `&${query}`}` },
    };
  },
};

/** A keyring over a KMS. Each call opens a new one, as another process would. */
async function keyringOver({ variables }: Here, store: RecordStore): Promise<KmsKeyring> {
  const { environment } = await temporaryHome();
  const named = namedKms(variables['HOLDFAST_SEALING_KMS'] ?? '', { ...environment, variables });
  return new KmsKeyring(await named.open(), new StoreWrappedItems(store), named);
}

/** The sealing keys of one machine with its own home, over a store that all machines share. */
async function machine({ variables }: Here, store: RecordStore): Promise<SealingKeys> {
  const { environment, layout } = await temporaryHome();
  const here = { ...environment, variables: { ...environment.variables, ...variables } };
  return new SealingKeys(
    resolveKeyrings(here, layout, { wrapped: () => new StoreWrappedItems(store) }),
    layout,
    here,
  );
}

/** The same records, seen as a tenant. */
function ofTenant(store: RecordStore, tenant: string): RecordStore {
  return new Proxy(store, {
    get: (target, name) => {
      if (name === 'tenant') return tenant;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

function encryptions({ asked }: KmsServer): number {
  return asked.filter((one) => /encrypt/i.test(one)).length;
}

async function kidsIn(keys: SealingKeys): Promise<string[]> {
  const kids: string[] = [];
  for await (const { kid } of keys.reachable()) kids.push(kid);
  return kids;
}

describe.each(Object.entries(SERVICES))('a keyring wrapped by %s', (_name, start) => {
  describe('the contract of a keyring', () => {
    const contract = keyringContract(async () => {
      const here = await start();
      const store = new MemoryStore();
      return {
        keyring: await keyringOver(here, store),
        reopen: () => keyringOver(here, store),
        dispose: async () => {},
      };
    });
    for (const { name, run } of contract) test(name, run);
  });

  test('gives every machine one key through the KMS, and never shows it to the store', async () => {
    const here = await start();
    const store = new MemoryStore();
    const keys = await Promise.all(
      Array.from({ length: 6 }, async () => (await machine(here, store)).strongest()),
    );
    expect(new Set(keys.map(({ kid }) => kid)).size).toBe(1);
    const [address, ...others] = await store.list();
    expect(others).toEqual([]);
    expect(address?.kid).toBe(WRAPPED_KID);
    const { record = '' } = (await store.read(address ?? { kid: '', id: '' })) ?? {};
    expect(record).not.toContain(Buffer.from(keys[0]?.key ?? []).toString('base64url'));
  });

  test('asks the KMS once for many uses, and again when told that the key may have changed', async () => {
    const here = await start();
    const store = new MemoryStore();
    await (await machine(here, store)).strongest();
    const keys = await machine(here, store);
    await keys.strongest();
    const asked = here.kms.asked.length;
    for (let use = 0; use < 5; use += 1) await keys.strongest();
    expect(here.kms.asked.length).toBe(asked);
    expect(keys.lookAgain(performance.now())).toBe(true);
    await keys.strongest();
    expect(here.kms.asked.length).toBe(asked + 1);
  });

  test('does not open an item that was copied to another tenant', async () => {
    const here = await start();
    const store = new MemoryStore();
    await (await machine(here, ofTenant(store, 'one'))).strongest();
    await expect((await machine(here, ofTenant(store, 'two'))).strongest()).rejects.toThrow(
      KeyringBrokenError,
    );
  });

  test('reports the keyring as absent while the KMS has no such key, and works once it has one', async () => {
    const here = await start();
    const store = new MemoryStore();
    const keys = await machine(here, store);
    const names = [...here.kms.keys];
    here.kms.keys.clear();
    await expect(keys.strongest()).rejects.toThrow(KeyringAbsentError);
    expect(await store.list()).toEqual([]);
    for (const name of names) here.kms.keys.add(name);
    expect((await keys.strongest()).keyringId).toBe('kms');
  });

  test('reports the keyring as broken when the KMS cannot be reached', async () => {
    const here = await start();
    await here.kms.stop();
    const failing = (await machine(here, new MemoryStore())).strongest();
    await expect(failing).rejects.toThrow(KeyringBrokenError);
  });

  test('uses the key in memory while the KMS is unreachable, unless outage=0 forbids it', async () => {
    const here = await start('cache=0');
    const store = new MemoryStore();
    const keys = await machine(here, store);
    const { kid } = await keys.strongest();
    const strict = await keyringOver(await withQuery(here, 'outage=0'), store);
    expect(await strict.get('sealing-key')).toBeDefined();
    await here.kms.stop();
    expect((await keys.strongest()).kid).toBe(kid);
    expect(await kidsIn(keys)).toEqual([kid]);
    await expect(strict.get('sealing-key')).rejects.toThrow(KeyringBrokenError);
  });
});

async function withQuery(here: Here, query: string): Promise<Here> {
  const url = here.variables['HOLDFAST_SEALING_KMS'] ?? '';
  return { ...here, variables: { ...here.variables, HOLDFAST_SEALING_KMS: `${url}&${query}` } };
}

describe('a key that a KMS wraps', () => {
  test('stops using a wrapped key once the KMS refuses it, even if it is still in memory', async () => {
    const here = await SERVICES['Vault']!('cache=0');
    const keys = await machine(here, new MemoryStore());
    await keys.strongest();
    here.kms.token = 'another-token';
    await expect(keys.strongest()).rejects.toThrow(KeyringDeniedError);
    // An outage after the refusal does not make the key usable again.
    here.kms.fails = { status: 500 };
    await expect(keys.strongest()).rejects.toThrow(KeyringBrokenError);
    here.kms.fails = undefined;
    here.kms.token = 'vault-token';
    expect((await keys.strongest()).keyringId).toBe('kms');
  });

  test('replaces a wrapped key with a new one, and keeps the old one for records sealed under it', async () => {
    const here = await SERVICES['Vault']!();
    const store = new MemoryStore();
    const [one, two] = [await machine(here, store), await machine(here, store)];
    const before = (await one.strongest()).kid;
    await two.strongest();
    const { value } = await one.renew(async () => false).next();
    expect(value).toMatchObject({ retired: [{ kid: before }] });
    expect(await kidsIn(one)).toEqual([value?.key.kid, before]);
    // The other machine uses the old key until it meets a record under a key it has not seen.
    expect(await kidsIn(two)).toEqual([before]);
    expect(two.lookAgainFor([value?.key.kid ?? ''], performance.now())).toBe(true);
    expect(await kidsIn(two)).toEqual([value?.key.kid, before]);
  });

  test('loses no key when several machines replace a wrapped key at once', async () => {
    const here = await SERVICES['Vault']!();
    const store = new MemoryStore();
    const machines = await Promise.all(Array.from({ length: 4 }, () => machine(here, store)));
    const before = (await machines[0]!.strongest()).kid;
    const renewed = await Promise.all(
      machines.map(async (keys) => (await keys.renew(async () => false).next()).value?.key.kid),
    );
    const there = await kidsIn(await machine(here, store));
    expect(new Set(there)).toEqual(new Set([...renewed, before]));
    expect(there).toHaveLength(5);
  });

  test('refuses a wrapped key from another item, even if Vault binds no context', async () => {
    const kms = await startVaultKms({ bindsNothing: true });
    const here = {
      kms,
      variables: { HOLDFAST_SEALING_KMS: `vault+http://${kms.host}/transit/keys/holdfast`, VAULT_TOKEN: 't' },
    };
    const store = new MemoryStore();
    await (await keyringOver(here, ofTenant(store, 'one'))).set('sealing-key', randomBytes(43));
    const other = await keyringOver(here, ofTenant(store, 'two'));
    await expect(other.get('sealing-key')).rejects.toThrow('belongs to another tenant or item');
  });

  test('leaves a wrapped key unchanged if it is damaged or was wrapped by another KMS', async () => {
    const here = await SERVICES['Vault']!();
    const store = new MemoryStore();
    const items = new StoreWrappedItems(store);
    await items.write('sealing-key', undefined, 'nonsense');
    const keyring = await keyringOver(here, store);
    await expect(keyring.get('sealing-key')).rejects.toThrow('damaged');
    const { version } = (await items.read('sealing-key'))!;
    await items.write('sealing-key', version, 'holdfast-wrapped-1.awskms.AAAA');
    await expect(keyring.get('sealing-key')).rejects.toThrow('was wrapped by "awskms"');
    expect((await items.read('sealing-key'))?.value).toBe('holdfast-wrapped-1.awskms.AAAA');
  });

  test('keeps what it wraps in a directory store, where it is not listed as a login', async () => {
    const here = await SERVICES['Vault']!();
    const { environment, layout } = await temporaryHome();
    const { openVault } = await import('../../src/vault/open.ts');
    const there = { ...environment, variables: { ...environment.variables, ...here.variables } };
    const wrapped = () => new StoreWrappedItems(new DirectoryStore(layout, there));
    const resolve = () => resolveKeyrings(there, layout, { wrapped });
    const { kid } = await new SealingKeys(resolve(), layout, there).strongest();
    expect(await kidsIn(new SealingKeys(resolve(), layout, there))).toEqual([kid]);
    const vault = openVault({ environment: there });
    expect(await vault.list()).toMatchObject({ credentials: [], undecryptable: [] });
    await vault.close();
  });
});

describe('Vault', () => {
  test('reports a sealed Vault as locked, and says who can unseal it', async () => {
    const here = await SERVICES['Vault']!();
    here.kms.fails = { status: 503, body: { errors: ['Vault is sealed'] } };
    const failing = (await machine(here, new MemoryStore())).strongest();
    await expect(failing).rejects.toThrow(KeyringLockedError);
  });

  test('logs in to Vault with the pod’s token once, and again when the Vault token is revoked', async () => {
    const kms = await startVaultKms();
    kms.token = 'first';
    const jwt = join(await temporaryDirectory(), 'token');
    await writeFile(jwt, 'the-pods-own-token\n', { mode: 0o600 });
    const query = `role=agents&jwt-file=${encodeURIComponent(jwt)}`;
    const HOLDFAST_SEALING_KMS = `vault+http://${kms.host}/transit/keys/holdfast?${query}`;
    const keyring = await keyringOver({ kms, variables: { HOLDFAST_SEALING_KMS } }, new MemoryStore());
    const logins = () => kms.asked.filter((one) => one.endsWith('/login')).length;
    await keyring.set('item', Buffer.from('one'));
    await keyring.set('item', Buffer.from('two'));
    expect(logins()).toBe(1);
    kms.token = 'second';
    await keyring.set('item', Buffer.from('three'));
    expect(logins()).toBe(2);
    await writeFile(jwt, 'of-another-pod');
    kms.token = 'third';
    await expect(keyring.set('item', Buffer.from('four'))).rejects.toThrow(KeyringDeniedError);
  });

  test('reads the Vault token from its file each time', async () => {
    const kms = await startVaultKms();
    const file = join(await temporaryDirectory(), 'vault-token');
    const variables = {
      HOLDFAST_SEALING_KMS: `vault+http://${kms.host}/transit/keys/holdfast`,
      VAULT_TOKEN_FILE: file,
    };
    const keyring = await keyringOver({ kms, variables }, new MemoryStore());
    await expect(keyring.set('item', Buffer.from('one'))).rejects.toThrow('is not there');
    for (const token of ['one', 'two']) {
      kms.token = token;
      await writeFile(file, `${token}\n`, { mode: 0o600 });
      await keyring.set('item', Buffer.from(token));
    }
    expect(encryptions(kms)).toBe(2);
  });

  test('refuses to use Vault without any credentials for this process', async () => {
    const kms = await startVaultKms();
    const variables = { HOLDFAST_SEALING_KMS: `vault+http://${kms.host}/transit/keys/holdfast` };
    await expect(keyringOver({ kms, variables }, new MemoryStore())).rejects.toThrow(KeyringDeniedError);
    expect(kms.asked).toEqual([]);
  });

  test('quotes escape sequences in an answer from Vault, and puts no secret in the error', async () => {
    const here = await SERVICES['Vault']!();
    here.kms.fails = { status: 403, body: { errors: ['\u001b[2Jvault'] } };
    const error = await (await machine(here, new MemoryStore()))
      .strongest()
      .catch((thrown: unknown) => thrown);
    expect(String(error)).toContain('\\u{1b}');
    expect(String(error)).not.toContain('\u001b');
    expect(JSON.stringify(error)).not.toContain('vault-token');
  });
});

describe('a KMS', () => {
  test('gives up on a KMS whose answer never ends or never comes', async () => {
    const kms = await startVaultKms();
    const url = new URL(`http://${kms.host}/v1/transit/encrypt/holdfast`);
    kms.fails = 'endless';
    await expect(postJson(url, {})).rejects.toThrow('answered without end');
    kms.fails = 'silence';
    await expect(postJson(url, {}, { timeoutMs: 50 })).rejects.toThrow('did not answer within 0.05 s');
  });

  test('refuses plain HTTP to a KMS on another machine before it sends anything', async () => {
    for (const url of [
      'vault+http://vault.example:8200/transit/keys/k',
      `gcpkms://${GCP_KEY}?endpoint=http%3A%2F%2Fexample.com`,
      'awskms:///alias/k?endpoint=http%3A%2F%2Fexample.com',
    ]) {
      const { environment } = await temporaryHome();
      const here = { ...environment, variables: { VAULT_TOKEN: 't' } };
      await expect((async () => namedKms(url, here).open())()).rejects.toThrow(
        'neither https nor this machine',
      );
    }
  });

  test.each([
    ['nonsense', 'is no URL'],
    ['https://kms.example/key', 'no KMS that Holdfast knows: "https:"'],
    ['vault+https://vault.example/transit/NAME', 'names no key of a transit engine'],
    ['vault+https://user:hunter2@vault.example/transit/keys/k', 'a user name or a password'],
    ['vault+https://vault.example/transit/keys/k?rol=x', 'the unknown parameter "rol"'],
    ['vault+https://vault.example/transit/keys/k?cache=soon', 'cache="soon"'],
    ['awskms://alias/k', 'names no key of AWS KMS'],
    ['gcpkms://projects/p/cryptoKeys/k', 'names no key of Google Cloud KMS'],
  ])('reports a KMS named by %s, and says what is wrong', async (url, said) => {
    const { environment } = await temporaryHome();
    const here = { ...environment, variables: { VAULT_TOKEN: 't' } };
    const opening = (async () => namedKms(url, here).open())();
    await expect(opening).rejects.toThrow(InvalidArgumentError);
    await expect(opening).rejects.toThrow(said);
    await expect(opening).rejects.not.toThrow('hunter2');
  });

  test('names the package to install for a KMS', async () => {
    const missing = 'package-that-nobody-installed';
    const load = () => import(/* @vite-ignore */ missing);
    await expect(openAwsKms(new URL('awskms:///alias/k'), load)).rejects.toMatchObject({
      code: 'keyring-absent',
      hint: 'npm install @aws-sdk/client-kms',
    });
    await expect(openGcpKms(new URL(`gcpkms://${GCP_KEY}`), load)).rejects.toMatchObject({
      code: 'keyring-absent',
      hint: 'npm install google-auth-library',
    });
  });
});

describe('Google Cloud', () => {
  test('reports the key as denied when Google Cloud refuses this process a token', async () => {
    const here = await SERVICES['Google Cloud KMS']!('cache=0');
    const store = new MemoryStore();
    await (await machine(here, store)).strongest();
    const refused = await machine(here, store);
    here.kms.fails = { status: 403 };
    await expect(refused.strongest()).rejects.toThrow(KeyringDeniedError);
  });
});

describe('AWS', () => {
  test('says that this process has no AWS credentials, and asks no KMS', async () => {
    const here = await SERVICES['AWS KMS']!();
    vi.stubEnv('AWS_ACCESS_KEY_ID', '');
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', '');
    vi.stubEnv('AWS_EC2_METADATA_DISABLED', 'true');
    const nowhere = await temporaryDirectory();
    vi.stubEnv('AWS_CONFIG_FILE', join(nowhere, 'config'));
    vi.stubEnv('AWS_SHARED_CREDENTIALS_FILE', join(nowhere, 'credentials'));
    const failing = (await machine(here, new MemoryStore())).strongest();
    await expect(failing).rejects.toThrow('AWS gave this process no credentials');
    expect(here.kms.asked).toEqual([]);
  });

  test('reports a refusal by AWS as denied, with the name of its error', async () => {
    const here = await SERVICES['AWS KMS']!();
    here.kms.fails = { status: 400, body: { __type: 'AccessDeniedException', message: 'a message' } };
    const failing = (await machine(here, new MemoryStore())).strongest();
    await expect(failing).rejects.toThrow(KeyringDeniedError);
    await expect(failing).rejects.toThrow('AccessDeniedException');
  });
});
