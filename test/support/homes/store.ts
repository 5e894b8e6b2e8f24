import type { RecordStore } from '../../../src/store/record-store.ts';

/** A real store with some of its methods changed. */
export function storeAround(store: RecordStore, changes: Partial<RecordStore>): RecordStore {
  return {
    id: store.id,
    read: (address) => store.read(address),
    version: (address) => store.version(address),
    cas: (address, expected, record) => store.cas(address, expected, record),
    remove: (address, expected) => store.remove(address, expected),
    move: (from, to, expected, record) => store.move(from, to, expected, record),
    quarantine: (address) => store.quarantine(address),
    list: () => store.list(),
    kidsOf: (id) => store.kidsOf(id),
    lock: (id, options) => store.lock(id, options),
    locked: (id) => store.locked(id),
    reserve: () => store.reserve(),
    selfTest: () => store.selfTest(),
    durability: () => store.durability(),
    close: () => store.close(),
    ...changes,
  };
}

/** A gate that others wait at until it is opened. */
export function gate(): { readonly opened: Promise<void>; open(): void } {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}
