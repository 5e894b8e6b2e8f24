/** Fills the real forms of the authorization server and follows it to the callback. @returns the last page */
export function browse(
  url: string,
  options?: { deny?: boolean; user?: string; userCode?: string },
): Promise<{ status: number; text: string; url: string }>;
