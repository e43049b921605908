package gateway_test

import _ "github.com/suuupra/gateway/core/testenv"
