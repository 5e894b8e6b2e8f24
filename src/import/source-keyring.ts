import { InvalidArgumentError, KeyringAbsentError, KeyringDeniedError } from '../errors.ts';
import type { ExternalItem, ExternalItems, ExternalLayout } from '../keyring/external/external-item.ts';
import { forgetKernelCopy } from '../keyring/external/kernel-copy.ts';
import { openExternalItems, osKeyringName } from '../keyring/external/open-external-items.ts';
import type { Environment } from '../system/environment.ts';
import { parsePlainJson, sameValues } from '../values/plain-values.ts';
import type { SourceLocation } from './locations.ts';
import { type Findings, type FoundLogin, type Skipped, type SourceContext, sameTokens } from './source.ts';
import { JSON_CODEC, type StoredEntry, without } from './source-file.ts';

/*
 * A source's logins in the OS keyring: one per item, or several in one item's JSON. A locked or refusing keyring is
 * reported; it never reads as a keyring without logins. If a system has no keyring, nothing is touched.
 */

export interface KeyringStore {
  /** The service name of the source's items. */
  readonly service: string;
  readonly layout: ExternalLayout;
  /** Whether the source's library keeps a copy in the kernel's keyring. */
  readonly kernelCopy?: boolean | undefined;
  /** The accounts that may exist, for keyrings that cannot be searched. */
  accounts(): readonly string[] | Promise<readonly string[]>;
  entries(items: readonly ExternalItem[]): readonly KeyringEntry[] | Promise<readonly KeyringEntry[]>;
  /** Runs a write of the named entry under the source's own lock, if it is known. */
  readonly lock?: (<T>(write: () => Promise<T>, name: string) => Promise<T>) | undefined;
}

/** An entry with a path into its item's JSON. An empty path removes the whole item. */
export interface KeyringEntry extends StoredEntry {
  readonly account: string;
}

/** The source's logins in the OS keyring; no logins if the user named a file. */
export function keyringLocation(context: SourceContext, store: KeyringStore): SourceLocation {
  const where = `${osKeyringName(context.environment)}: ${store.service}`;
  const nothing = { logins: [], skipped: [], searched: [] };
  return {
    where,
    found: context.file === undefined ? findInKeyring(context, store, where) : Promise.resolve(nothing),
  };
}

async function findInKeyring(
  { environment }: SourceContext,
  store: KeyringStore,
  where: string,
): Promise<Findings> {
  const logins: FoundLogin[] = [];
  const skipped: Skipped[] = [];
  let found: readonly KeyringEntry[];
  try {
    found = await withItems(environment, store, async (items) =>
      store.entries(await items.list(await store.accounts())),
    );
  } catch (error) {
    if (!(error instanceof KeyringAbsentError)) throw error;
    return { logins, skipped, searched: [`${where} (there is no ${osKeyringName(environment)} here)`] };
  }
  for (const { name, content } of found) {
    if ('reason' in content) skipped.push({ name, file: where, reason: content.reason });
    else {
      const { login } = content;
      const take = () => takeOut(environment, store, { name, login });
      logins.push({ login, name, file: where, take });
    }
  }
  return { logins, skipped, searched: [where] };
}

async function takeOut(
  environment: Environment,
  store: KeyringStore,
  { name, login }: Pick<FoundLogin, 'name' | 'login'>,
): Promise<'taken' | 'changed' | 'gone'> {
  const write = () =>
    withItems(environment, store, async (items) => {
      const all = await items.list(await store.accounts());
      const entry = (await store.entries(all)).find((one) => one.name === name);
      const now = entry !== undefined && 'login' in entry.content ? entry.content.login : undefined;
      if (entry === undefined || now === undefined) return 'gone';
      if (!sameTokens(now, login)) return 'changed';
      const item = all.find(({ account }) => account === entry.account);
      if (item === undefined) return 'gone';
      const outcome = await items.replace(item, remainder(item, entry, store));
      if (outcome === 'done' && store.kernelCopy === true && environment.platform === 'linux') {
        await forgetKernelCopy(store.service, item.account);
      }
      return outcome === 'done' ? 'taken' : outcome;
    });
  return store.lock === undefined ? write() : store.lock(write, name);
}

/** The rest of the item; `undefined` if the whole item is removed. */
function remainder(
  { text }: ExternalItem,
  { path }: KeyringEntry,
  { service }: KeyringStore,
): string | undefined {
  if (path.length === 0) return undefined;
  const rest = JSON_CODEC.remove(text, path);
  if (sameValues(JSON_CODEC.parse(rest), without(JSON_CODEC.parse(text), path))) return rest;
  throw new InvalidArgumentError(
    `The entry cannot be taken out of the keyring’s item of ${service} without touching more; it was left as it is.`,
    { hint: 'Log out in that program without revoking.' },
  );
}

async function withItems<T>(
  environment: Environment,
  { service, layout }: KeyringStore,
  step: (items: ExternalItems) => Promise<T>,
): Promise<T> {
  const items = await openExternalItems(environment, service, layout);
  try {
    return await step(items);
  } catch (error) {
    // The Keychain's own hint is about Holdfast's item.
    if (environment.platform !== 'darwin' || !(error instanceof KeyringDeniedError)) throw error;
    throw new KeyringDeniedError(error.message, {
      cause: error,
      hint: 'The item is another program’s. To be asked, at the Mac’s own desktop: HOLDFAST_KEYCHAIN_PROMPT=1 holdfast import',
    });
  } finally {
    await items.close();
  }
}

/** Stands for the logins in an item that is damaged, or from an unknown version. */
export const UNKNOWN: StoredEntry = {
  name: 'the item in the keyring',
  path: [],
  content: { reason: 'it is not what that program writes, and was left as it is' },
};

/** The JSON in an item; `undefined` if it is not JSON. */
export function jsonIn(text: string): unknown {
  try {
    return parsePlainJson(text);
  } catch {
    return undefined;
  }
}
