local ffi = require "ffi"
local header = require "spec.support.header"
local C = header.load("src/redis/url.h")

-- The parts of a URL as a table, or nil and the sentence.
local function parse(text)
  local url, why = ffi.new("struct redis_url"), ffi.new("struct error")
  local code = C.redis_url_parse(text, url, why)
  if code ~= 0 then
    assert.equal(tonumber(C.ERROR_USAGE), code)
    return nil, ffi.string(why.text)
  end
  local parts = { db = url.db, shown = ffi.string(url.shown) }
  if url.is_unix then
    parts.path = ffi.string(url.path)
  else
    parts.host, parts.port = ffi.string(url.host), url.port
  end
  for _, name in ipairs { "user", "password" } do
    local value = ffi.string(url[name])
    parts[name] = value ~= "" and value or nil
  end
  return parts
end

local good = {
  ["redis://localhost"] = { host = "localhost", port = 6379, db = 0,
    shown = "redis://localhost:6379" },
  ["redis://localhost/"] = { host = "localhost", port = 6379, db = 0,
    shown = "redis://localhost:6379" },
  ["REDIS://h:1"] = { host = "h", port = 1, db = 0, shown = "redis://h:1" },
  ["redis://h:7000/3"] = { host = "h", port = 7000, db = 3, shown = "redis://h:7000/3" },
  ["redis://h?db=4"] = { host = "h", port = 6379, db = 4, shown = "redis://h:6379/4" },
  ["redis://h:7000/?db=4"] = { host = "h", port = 7000, db = 4, shown = "redis://h:7000/4" },
  ["redis://ann:pw@h"] = { host = "h", port = 6379, db = 0, user = "ann", password = "pw",
    shown = "redis://ann@h:6379" },
  ["redis://:pw@h"] = { host = "h", port = 6379, db = 0, password = "pw",
    shown = "redis://h:6379" },
  ["redis://ann@h"] = { host = "h", port = 6379, db = 0, user = "ann",
    shown = "redis://ann@h:6379" },
  ["redis://a%40b:p%2Fw%3a%25@h"] = { host = "h", port = 6379, db = 0, user = "a@b",
    password = "p/w:%", shown = "redis://a@b@h:6379" },
  ["redis://:p@w:x@h:1"] = { host = "h", port = 1, db = 0, password = "p@w:x",
    shown = "redis://h:1" },
  ["redis://[::1]"] = { host = "::1", port = 6379, db = 0, shown = "redis://[::1]:6379" },
  ["redis://u:p@[fe80::1]:77/2"] = { host = "fe80::1", port = 77, db = 2, user = "u",
    password = "p",
    shown = "redis://u@[fe80::1]:77/2" },
  ["unix:///run/redis.sock"] = { path = "/run/redis.sock", db = 0,
    shown = "unix:///run/redis.sock" },
  ["unix:///a%20b?db=2"] = { path = "/a b", db = 2, shown = "unix:///a b?db=2" },
  ["unix://ann:pw@/r.sock"] = { path = "/r.sock", db = 0, user = "ann", password = "pw",
    shown = "unix://ann@/r.sock" },
  ["unix://:pw@/r.sock"] = { path = "/r.sock", db = 0, password = "pw", shown = "unix:///r.sock" },
}

-- URL -> a word that the sentence must have.
local bad = {
  [""] = "must begin with redis://",
  ["localhost:6379"] = "must begin with redis://",
  ["http://h"] = "must begin with redis://",
  ["redis:/h"] = "must begin with redis://",
  ["rediss://h"] = "TLS",
  ["redis://"] = "names no host",
  ["redis://:7000"] = "names no host",
  ["redis://ann:pw@"] = "names no host",
  ["redis://h:"] = "port",
  ["redis://h:0"] = "port '0'",
  ["redis://h:65536"] = "port '65536'",
  ["redis://h:x"] = "port 'x'",
  ["redis://h:99999999999999999999"] = "port",
  ["redis://h/x"] = "database 'x'",
  ["redis://h/-1"] = "database '-1'",
  ["redis://h/1/2"] = "database '1/2'",
  ["redis://h?timeout=3"] = "only '?db=N'",
  ["redis://h?db="] = "database ''",
  ["redis://::1:6379"] = "brackets",
  ["redis://[::1"] = "lacks its ']'",
  ["redis://[::1]7000"] = "lacks its ']'",
  ["redis://a%zz@h"] = "two hex digits",
  ["redis://a%4@h"] = "two hex digits",
  ["redis://a%00b@h"] = "control character",
  ["redis://a\nb@h"] = "control character",
  ["redis://" .. ("x"):rep(300)] = "longer than 255",
  ["redis://" .. ("x"):rep(128) .. "@h"] = "longer than 127",
  ["unix://"] = "absolute path",
  ["unix:///"] = "absolute path",
  ["unix://r.sock"] = "absolute path",
  ["unix:///" .. ("x"):rep(107)] = "longer than 107",
}

describe("a Redis URL", function()
  for text, parts in pairs(good) do
    it("is taken apart: " .. text, function()
      local got, why = parse(text)
      assert.is_nil(why)
      assert.same(parts, got)
    end)
  end

  for text, words in pairs(bad) do
    it("is refused with a sentence: " .. text:sub(1, 40):gsub("%c", "?"), function()
      local got, why = parse(text)
      assert.is_nil(got)
      assert.truthy(why:find(words, 1, true), why)
    end)
  end

  it("never shows its password", function()
    assert.falsy(parse("redis://ann:topsecret@h:1/2").shown:find("topsecret", 1, true))
    for _, text in ipairs { "redis://u:topsecret@", "redis://u:topsecret@h:x",
      "unix://u:topsecret@x",
      "redis://u:topsecret%zz@h", "redis://u:topsecret@h/x" } do
      local _, why = parse(text)
      assert.falsy(why:find("topsecret", 1, true), why)
    end
  end)
end)
