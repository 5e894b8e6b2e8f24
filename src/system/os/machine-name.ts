import { hostname, userInfo } from 'node:os';

/** Returns the names of this machine and its user, for a program that derives a key from them. */
export function machineName(): { readonly host: string; readonly user: string } {
  let user = '';
  try {
    user = userInfo().username;
  } catch {
    // A user without a passwd entry, as in many containers, has no name.
  }
  return { host: hostname(), user };
}
