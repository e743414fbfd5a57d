--- What is done with the server's messages. Only hands them on.
local M = {}
local is_watching = false

local function client_of(context)
  return vim.lsp.get_client_by_id(context.client_id)
end

M.handlers = {
  ["seed/inlineCompletion/update"] = function(_, params, context)
    local client = client_of(context)
    if client then
      require("seed.inline").update(params, client)
    end
  end,
  ["seed/status"] = function(_, params)
    require("seed.status").set(params)
  end,
  ["workspace/applyEdit"] = function(_, params, context)
    return require("seed.edit").apply(params, assert(client_of(context)))
  end,
  ["workspace/executeCommand"] = function(failure, result)
    require("seed.edit").tell_result(result, failure)
  end,
}

M.commands = {
  ["seed.askInstruction"] = function(command)
    require("seed.edit").ask_and_rewrite(command.arguments[1])
  end,
}

--- A buffer has our client now.
---@param client vim.lsp.Client
function M.attach(client)
  if not is_watching then
    is_watching = true
    local group = vim.api.nvim_create_augroup("seed", { clear = true })
    require("seed.inline").watch(group)
    require("seed.rest").watch(group)
    require("seed.progress").watch(group, client.name)
  end
  require("seed.keys").apply()
  if vim.lsp.inline_completion then
    -- Neovim would show the same text a second time.
    vim.lsp.inline_completion.enable(false, { client_id = client.id })
  end
  vim.schedule(require("seed.inline").refresh)
  require("seed.rest").wait()
end

return M
