// What the official JavaScript clients have in common, against the sandbox: run by Node and in a
// browser. `big` is a large body; returns the names of the steps that failed, with their errors.
async function converse(cos, account, big) {
  const place = {Bucket: account.bucket, Region: account.region};
  const host = `${account.bucket}.cos.${account.region}.myqcloud.com`;
  const jobs = `${account.scheme || "http"}://${account.bucket}.ci.${account.region}.myqcloud.com/jobs`;
  const key = "js/a b+图 %#?&.txt";
  const failures = [];
  async function call(name, parameters, code) {
    try {
      const data = await cos[name]({...place, ...parameters});
      if (code) failures.push(`${name}: no ${code}`);
      return data;
    } catch (error) {
      const told = `${error.statusCode} ${error.code || ""}`;
      if (!code || !told.includes(code)) failures.push(`${name}: ${told} ${error.message}`);
      return {};
    }
  }
  function check(name, isRight) {
    if (!isRight) failures.push(name);
  }
  await call("headBucket", {});
  await call("putObject", {Key: key, Body: "hello"});
  await call("headObject", {Key: key});
  await call("headObject", {Key: "none"}, "404");
  check("body", String((await call("getObject", {Key: key})).Body) === "hello");
  const listed = await call("getBucket", {Prefix: "js/"});
  check("listing", listed.Contents && listed.Contents[0].Key === key);
  const link = cos.getObjectUrl({...place, Key: key, Sign: true});
  check("link", link.includes("q-signature="));
  await call("putObjectCopy", {Key: "js/copy", CopySource: `${host}/${encodeURIComponent(key)}`});
  await call("putObjectAcl", {Key: "js/copy", ACL: "public-read"});
  check("acl", (await call("getObjectAcl", {Key: "js/copy"})).ACL === "public-read");
  await call("deleteObject", {Key: "js/log"});
  await call("appendObject", {Key: "js/log", Position: 0, Body: "ab"});
  await call("putObjectTagging", {Key: key, Tags: [{Key: "a", Value: "b"}]});
  check("tags", (await call("getObjectTagging", {Key: key})).Tags.length === 1);
  await call("sliceUploadFile", {Key: "js/big", ...big, ChunkSize: 1024 * 1024});
  await call("uploadFile", {Key: "js/big2", ...big, SliceSize: 1024 * 1024});
  await call("sliceCopyFile", {
    Key: "js/big3", CopySource: `${host}/js/big`, CopySliceSize: 1024 * 1024, CopyChunkSize: 1024 * 1024,
  });
  const upload = await call("multipartInit", {Key: "js/parts"});
  const part = {Key: "js/parts", UploadId: upload.UploadId};
  await call("multipartUpload", {...part, PartNumber: 1, Body: "x"});
  check("parts", (await call("multipartListPart", part)).Part.length === 1);
  check("uploads", (await call("multipartList", {})).Upload.length >= 1);
  await call("multipartAbort", part);
  await call("getBucketVersioning", {});
  check("versions", (await call("listObjectVersions", {Prefix: "js/"})).Versions.length >= 4);
  await call("getBucketPolicy", {}, "501");
  await call("getBucketAccelerate", {}, "501");
  const operations = {is_pic_info: 1, rules: [{fileid: "made.png", rule: "imageMogr2/format/png"}]};
  const made = await call("request", {
    Method: "POST", Key: "input/deer.jpg", Action: "image_process",
    Headers: {"Pic-Operations": JSON.stringify(operations)},
  });
  check("picture", made.UploadResult && made.UploadResult.ProcessResults.Object.Format === "png");
  const output = `<Bucket>${account.bucket}</Bucket><Region>${account.region}</Region><Object>js/o.jpg</Object>`;
  const created = await call("request", {
    Method: "POST", Url: jobs, Key: "jobs", ContentType: "application/xml",
    Body: "<Request><Tag>PicProcess</Tag><Input><Object>input/deer.jpg</Object></Input><Operation>"
      + "<PicProcess><ProcessRule>imageMogr2/rotate/90</ProcessRule></PicProcess>"
      + `<Output>${output}</Output></Operation></Request>`,
  });
  check("job", created.Response && created.Response.JobsDetail.State === "Submitted");
  await call("request", {Method: "GET", Url: jobs, Key: "jobs", Query: {tag: "PicProcess"}});
  await call("deleteMultipleObject", {Objects: [{Key: key}, {Key: "js/big"}]});
  return failures;
}
if (typeof module === "object") module.exports = converse;
