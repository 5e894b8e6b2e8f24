import { createHash } from 'node:crypto';
import { onTestFinished } from 'vitest';
import type { Credential } from '../../../src/credential.ts';
import { CredentialId } from '../../../src/credential.ts';
import type { CredentialStore, StoredCredential } from '../../../src/credentials/credential-store.ts';
import { SealedCredentialStore } from '../../../src/credentials/sealed/sealed-credential-store.ts';
import type { VaultEvent } from '../../../src/credentials/vault-event.ts';
import { defaultOpeners, KeyringResolution } from '../../../src/keyring/resolve.ts';
import { SealingKeys } from '../../../src/keyring/sealing-key.ts';
import type { LoginInteraction } from '../../../src/login/types.ts';
import { ReusePolicy } from '../../../src/refresh/reuse-policy.ts';
import { SharedRefresh } from '../../../src/refresh/shared-refresh.ts';
import type { Secret } from '../../../src/secret.ts';
import { DirectoryStore } from '../../../src/store/directory.ts';
import { MemoryStore } from '../../../src/store/memory.ts';
import type { RecordStore } from '../../../src/store/record-store.ts';
import { defined } from '../../../src/values/defined.ts';
import { openVault } from '../../../src/vault/open.ts';
import type { Vault, VaultOptions } from '../../../src/vault/vault.ts';
import { browse } from '../browser/scripted-browser.mjs';
import type { Home } from './home.ts';

/**
 * Opens a vault over that home, by default with the file keyring, and collects its events. It is closed with the test.
 */
export function vaultAt(
  home: Home,
  options: { readonly [K in keyof VaultOptions]?: VaultOptions[K] | undefined } = {},
): { vault: Vault; events: VaultEvent[] } {
  const events: VaultEvent[] = [];
  const vault = openVault(
    defined({
      environment: home.environment,
      keyring: options.openers === undefined ? 'file' : 'auto',
      onEvent: (event: VaultEvent) => void events.push(event),
      ...options,
    }),
  );
  onTestFinished(() => vault.close());
  return { vault, events };
}

/** Opens the URL in the scripted browser, without waiting for it. */
export const scripted: LoginInteraction = {
  authorize: async (url) => {
    browse(url).catch(() => {
      // The login ends with an error if the browser never comes back.
    });
  },
};

/** New parts of a vault over that home and the file keyring. */
export function partsAt(home: Home, store: RecordStore = new DirectoryStore(home.layout, home.environment)) {
  const openers = defaultOpeners(home.environment, home.layout);
  const resolution = new KeyringResolution({ openers, choice: 'file' });
  const keys = new SealingKeys(resolution, home.layout, home.environment);
  return {
    keys,
    store,
    credentialStore: new SealedCredentialStore({ persistent: store, ephemeral: new MemoryStore(), keys }),
  };
}

/** The refresh of one process over that store. */
export function refreshOf(store: CredentialStore, { environment }: Home): SharedRefresh {
  return new SharedRefresh({ store, environment, policy: new ReusePolicy(), report: () => {} });
}

/** Reads the stored credential of that resource from the disk. */
export async function stored(home: Home, resource: string, account?: string): Promise<StoredCredential> {
  const found = await partsAt(home).credentialStore.find(CredentialId.of(resource, account));
  if (found === undefined) throw new Error('Nothing is stored for that resource.');
  return found.held;
}

/** Changes the stored credential as another process would. */
export async function change(
  home: Home,
  resource: string,
  how: (credential: Credential) => Partial<Credential>,
): Promise<StoredCredential> {
  const before = await stored(home, resource);
  const after = await partsAt(home).credentialStore.replace(before, {
    ...before.credential,
    ...how(before.credential),
  });
  if (after === undefined) throw new Error('Someone else changed the record.');
  return after;
}

/** Ages the stored access token: of its hour of life, `leftMs` milliseconds are left. */
export function leave(home: Home, resource: string, leftMs: number): Promise<StoredCredential> {
  return change(home, resource, ({ tokens }) => ({
    tokens: {
      ...tokens,
      obtainedAt: Date.now() + leftMs - 3_600_000,
      // Dated by the wall clock only, which tests may set.
      obtainedBoot: undefined,
      expiresAt: Date.now() + leftMs,
    },
  }));
}

/** Ages the stored access token past its end. */
export function expire(home: Home, resource: string): Promise<StoredCredential> {
  return leave(home, resource, -1000);
}

/** A fingerprint that tells secrets apart without showing them. */
export function fingerprint(secret: Secret | undefined): string {
  return createHash('sha256')
    .update(secret?.reveal() ?? '')
    .digest('hex')
    .slice(0, 16);
}

/** Calls the MCP server with that token. @returns whether the server accepted it */
export async function accepted(resource: string, token: Secret): Promise<boolean> {
  const response = await fetch(resource, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${token.reveal()}`,
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
    },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'ping' }),
  });
  await response.body?.cancel();
  return response.status !== 401;
}

/** A home with a login at that resource, and the first tokens. */
export async function loggedIn(home: Home, resource: string, options: VaultOptions = {}) {
  const { vault, events } = vaultAt(home, options);
  await vault.login(resource, { interaction: scripted });
  return { home, vault, events, first: (await stored(home, resource)).credential };
}
