/** What a caller is told: a status, a code that stays, and a sentence without phones or texts. */
export class Problem extends Error {
  constructor(status, code, detail, members = {}, headers = {}) {
    super(detail);
    this.status = status;
    this.code = code;
    this.members = members;
    this.headers = headers;
  }

  get body() {
    return { code: this.code, detail: this.message, ...this.members };
  }
}
