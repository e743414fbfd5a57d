--- Edits by the model: asked for, looked at, then made or not. Every edit of our server comes here.
local changes = require("seed.changes")
local config = require("seed.config")
local preview = require("seed.preview")
local say = require("seed.say")
local server = require("seed.server")
local api = vim.api

local M = {}
local STALE = "The buffer has changed meanwhile: nothing was edited."

--- Say how an edit went, if it did not go well.
---@param result any
---@param failure table?
function M.tell_result(result, failure)
  if failure then
    say(failure.message or "The server has refused.")
  elseif type(result) == "table" and result.applied == false and result.message then
    say(result.message)
  end
end

--- Show an edit and make it if the person accepts it (`workspace/applyEdit`).
---
--- Waits for the person; must run in a coroutine, as handlers of requests do.
---@param params table
---@param client vim.lsp.Client
---@return { applied: boolean, failureReason: string? }
function M.apply(params, client)
  local made, encoding = changes.of(params.edit), client.offset_encoding
  if changes.are_stale(made) then
    return { applied = false, failureReason = STALE }
  end
  if config.values.preview then
    local waiting = coroutine.running()
    preview.show({
      title = params.label or "Edit",
      description = changes.description(params.edit),
      diff = changes.diff(made, encoding),
      on_decision = vim.schedule_wrap(function(is_accepted)
        coroutine.resume(waiting, is_accepted)
      end),
    })
    if not coroutine.yield() then
      return { applied = false, failureReason = "The edit was rejected." }
    end
    if changes.are_stale(made) then
      return { applied = false, failureReason = STALE }
    end
  end
  changes.make(made, encoding)
  return { applied = true }
end

---@param argument table what `seed.rewrite` takes
local function rewrite(argument)
  local buf = vim.uri_to_bufnr(argument.uri)
  local client = server.client(buf)
  if not client then
    return say("The server does not run; see :checkhealth seed.")
  end
  local params = { command = "seed.rewrite", arguments = { argument } }
  client:request("workspace/executeCommand", params, function(failure, result)
    M.tell_result(result, failure)
  end, buf)
end

--- Ask for words and rewrite a place by them (`seed.askInstruction`).
---@param argument table `{uri, range, version}`
function M.ask_and_rewrite(argument)
  vim.ui.input({ prompt = "Rewrite: " }, function(instruction)
    if instruction and vim.trim(instruction) ~= "" then
      rewrite(vim.tbl_extend("force", argument, { instruction = instruction }))
    end
  end)
end

--- Lines of a buffer as a range of the protocol.
---@param buf integer
---@param first integer from 1
---@param last integer
---@param encoding string
local function range_of(buf, first, last, encoding)
  local line = api.nvim_buf_get_lines(buf, last - 1, last, false)[1]
  local character = vim.str_utfindex(line or "", encoding)
  return {
    start = { line = first - 1, character = 0 },
    ["end"] = { line = last - 1, character = character },
  }
end

---@param first integer?
---@param last integer?
---@return vim.lsp.Client?
---@return table? what an edit is about: `{uri, range, version}`
local function order(first, last)
  local buf = api.nvim_get_current_buf()
  local client = server.client(buf)
  if not client then
    say("The server does not run for this buffer; see :checkhealth seed.")
    return nil
  end
  local cursor = vim.lsp.util.make_position_params(0, client.offset_encoding).position
  local place = { start = cursor, ["end"] = cursor }
  return client,
    {
      uri = vim.uri_from_bufnr(buf),
      range = first and range_of(buf, first, last or first, client.offset_encoding) or place,
      version = vim.lsp.util.buf_versions[buf],
    }
end

--- Rewrite lines, or the function at the cursor.
---@param instruction string asked for if empty
---@param first integer? line, from 1
---@param last integer?
function M.rewrite(instruction, first, last)
  local client, argument = order(first, last)
  if not client then
    return
  end
  if instruction == "" then
    return M.ask_and_rewrite(argument)
  end
  rewrite(vim.tbl_extend("force", argument, { instruction = instruction }))
end

---@param buf integer
---@param encoding string
---@return table[] what other tools have found, by whole lines; the server picks what is of use
local function diagnostics_of(buf, encoding)
  return vim.tbl_map(function(it)
    local range = range_of(buf, it.lnum + 1, it.lnum + 1, encoding)
    return { range = range, message = it.message, severity = it.severity }
  end, vim.diagnostic.get(buf))
end

--- Choose one of the server's edits for lines, or for the function at the cursor.
---@param first integer? line, from 1
---@param last integer?
function M.choose(first, last)
  local client, argument = order(first, last)
  if not client then
    return
  end
  local buf = api.nvim_get_current_buf()
  client:request("textDocument/codeAction", {
    textDocument = { uri = argument.uri },
    range = argument.range,
    context = { diagnostics = diagnostics_of(buf, client.offset_encoding), triggerKind = 1 },
  }, function(_, actions)
    if not actions or #actions == 0 then
      return say("There is no edit for this place.")
    end
    local options = {
      prompt = "Edit:",
      kind = "seed",
      format_item = function(action)
        return action.title
      end,
    }
    vim.ui.select(actions, options, function(chosen)
      if not chosen then
        return
      end
      local command = chosen.command
      if command.command == "seed.askInstruction" then
        return M.ask_and_rewrite(command.arguments[1])
      end
      rewrite(command.arguments[1])
    end)
  end, buf)
end

return M
