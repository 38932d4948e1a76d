// Calls every public method of the official Node client once, and prints [name, status, code] of
// each; the status of one that did not answer is 0.
const COS = require("cos-nodejs-sdk-v5");
const [account, proxy] = [JSON.parse(process.argv[2]), process.argv[3]];
const cos = new COS({SecretId: account.secret_id, SecretKey: account.secret_key, Protocol: "http:",
  Proxy: proxy, AutoSwitchHost: false, Timeout: 8000});
const host = `${account.bucket}.cos.${account.region}.myqcloud.com`;
// What asks no service, or answers with a stream, or is called with other arguments.
const LEFT = new RegExp("^(constructor|on|off|emit|init|use|options|request|get(Auth|Stream|V4Auth|ObjectUrl|TaskList"
  + "|ObjectStream)|\\w*Tasks?|isUploadRunning|_.*|uploadFiles|\\w*Sts\\w*)$");
const parameters = {
  Bucket: account.bucket, Region: account.region, Body: "abc", FilePath: "file", ACL: "private",
  Position: 0, UploadId: "none", PartNumber: 1, Parts: [{PartNumber: 1, ETag: "x"}], Id: "a",
  Objects: [{Key: "none"}], Tags: [{Key: "a", Value: "b"}], Method: "GET",
  RestoreRequest: {Days: 1, CASJobParameters: {Tier: "Expedited"}},
  CORSRules: [{AllowedOrigin: ["*"], AllowedMethod: ["GET"]}],
  Policy: {version: "2.0", Statement: []},
  Rules: [{ID: "1", Status: "Enabled", Filter: {Prefix: ""}, Expiration: {Days: 1}}],
  WebsiteConfiguration: {IndexDocument: {Suffix: "i"}},
  RefererConfiguration: {Status: "Enabled", RefererType: "White-List", DomainList: {Domains: ["a"]}},
  DomainRule: [{Status: "ENABLED", Name: "a.b", Type: "REST"}],
  VersioningConfiguration: {Status: "Enabled"}, AccelerateConfiguration: {Status: "Enabled"},
  InventoryConfiguration: {Id: "a", IsEnabled: "true"}, BucketLoggingStatus: {}, OriginRule: [],
  ReplicationConfiguration: {Role: "qcs::cam::uin/1:uin/1", Rules: []},
  ServerSideEncryptionConfiguration: {},
  SelectType: 2, SelectRequest: {Expression: "select *", ExpressionType: "SQL",
    InputSerialization: {JSON: {Type: "DOCUMENT"}},
    OutputSerialization: {JSON: {RecordDelimiter: "\n"}}},
};

function getNames() {
  const names = new Set();
  for (let at = cos; at && at !== Object.prototype; at = Object.getPrototypeOf(at)) {
    for (const name of Object.getOwnPropertyNames(at)) {
      if (typeof cos[name] === "function" && !LEFT.test(name)) names.add(name);
    }
  }
  return [...names].sort();
}

function call(name) {
  const args = {...parameters, Key: /append|multipart|slice|upload/i.test(name) ? "other" : "k.txt"};
  if (/copy/i.test(name)) args.CopySource = `${host}/source.txt`;
  return new Promise((resolve) => {
    setTimeout(() => resolve([name, 0, "hangs"]), 15000).unref();
    cos[name](args, (error, data) => resolve(error
      ? [name, error.statusCode || 0, String(error.code || "")]
      : [name, (data && data.statusCode) || 200, ""]));
  });
}

(async () => {
  const rows = [];
  await cos.putObject({...parameters, Key: "source.txt"});
  for (const name of getNames()) {
    await cos.putObject({...parameters, Key: "k.txt"});
    rows.push(await call(name));
  }
  console.log(JSON.stringify(rows));
  process.exit(0);
})();
